/* SPDX-License-Identifier: GPL-2.0 */
/* What comes in is noted, never judged: once in KEPT_TICKS is enough. Wrong at
 * worst is that a conversation counts as heard a moment ago.
 */
#ifndef DNSFW_HEARD_H
#define DNSFW_HEARD_H

#include "kept.h"

static __always_inline bool is_recent(__u32 since, __u32 now)
{
	return now - since < KEPT_TICKS;
}

/* What is kept of it says it, too, and is here already */
static __always_inline bool
is_tcp(struct bpf_sock *sk, const struct dnsfw_sock *made)
{
	__u8 proto = made->pad_kept.shape;
	struct bpf_sock *full;

	if (proto)
		return proto == PROTO_TCP;
	full = bpf_sk_fullsock(sk);
	return full && full->protocol == PROTO_TCP;
}

/* Where a socket takes it. Whatever a TCP socket takes that does not listen is
 * of its one conversation, which what leaves opens and keeps alive, too.
 */
static __always_inline bool was_heard(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	const struct dnsfw_sock *made;
	struct plain q;
	__u32 now;

	if (!sk || sk->state == STATE_LISTEN)
		return false;
	made = socket_get(dnsfw_socks, sk);
	if (!made)
		return false;
	now = bpf_jiffies64();
	if (is_tcp(sk, made))
		return is_recent(made->pad_kept.heard, now) ||
		       is_recent(made->pad_kept.found.at, now);
	return is_recent(made->pad_kept.heard, now) &&
	       read_plain(skb, FROM_IP, &q, false) &&
	       made->pad_kept.ports == q.ports &&
	       (__u8)made->pad_kept.shape == q.proto &&
	       is_same(&made->pad_kept.remote, &q.there);
}

/* @p belonged to a conversation, which knows it now */
static __always_inline void
note_heard(struct __sk_buff *skb, const struct packet *p)
{
	__u32 ports = host16(p->dport) | (__u32)host16(p->sport) << 16;
	struct bpf_sock *sk = skb->sk, *full;
	struct dnsfw_sock *made;

	if (!sk || p->malformed || p->frag)
		return;
	full = bpf_sk_fullsock(sk);
	if (!full || full->state == STATE_LISTEN)
		return;
	made = socket_get(dnsfw_socks, full);
	if (!made)
		return;
	if (full->protocol == PROTO_TCP ||
	    (made->pad_kept.ports == ports &&
	     (__u8)made->pad_kept.shape == p->proto &&
	     is_same(&made->pad_kept.remote, &p->src)))
		made->pad_kept.heard = bpf_jiffies64();
}

/* At a device, where no socket is known yet: one of two places of this CPU's by
 * a hash, which the other half of the hash fills together with the time. Two
 * conversations of one place would put each other out all the time.
 */
static __always_inline __u64 hash_of(const struct plain *q)
{
	__u64 word[2], hash;

	__builtin_memcpy(word, &q->there, sizeof(word));
	hash = word[0] * 0x9e3779b97f4a7c15ULL;
	hash ^= hash >> 32;
	hash = (hash ^ word[1]) * 0xbf58476d1ce4e5b9ULL;
	hash ^= hash >> 29;
	hash = (hash ^ ((__u64)q->proto << 32 | q->ports)) *
	       0x94d049bb133111ebULL;
	return hash ^ (hash >> 32);
}

/* The socket that sent it in another namespace: its record says whether that is
 * a subject, once somebody has looked
 */
static __always_inline bool may_be_subject(struct bpf_sock *sk)
{
	const struct dnsfw_sock *made = socket_get(dnsfw_socks, sk);

	return !made || !made->role || made->role >= DNSFW_ROLE_FIRST;
}

/* Queries to dnsfw get their mark one by one */
static __always_inline bool
may_skip(struct __sk_buff *skb, const int from, struct plain *q)
{
	const struct dnsfw_settings *set = settings();
	struct bpf_sock *sk = skb->sk;

	if (!set || (skb->mark & DNSFW_MARK_JUDGED))
		return false;
	if (sk && (set->uses & (DNSFW_USES_CGROUPS | DNSFW_USES_IDS)) &&
	    may_be_subject(sk))
		return false;
	return read_plain(skb, from, q, false) &&
	       (__u16)q->ports != host16(set->dns_port);
}

static __always_inline __u64 *heard_here(__u64 hash, const __u32 other)
{
	__u32 place = hash % HEARD_COUNT ^ other;

	return map_get(dnsfw_heard, &place);
}

static __always_inline bool
is_heard(const __u64 *here, __u64 hash, __u32 now)
{
	__u64 word = here ? *here : 0;

	return (word ^ hash) >> 32 == 0 && is_recent(word, now);
}

static __always_inline bool was_heard_here(__u64 hash)
{
	__u32 now = bpf_jiffies64();

	return is_heard(heard_here(hash, 0), hash, now) ||
	       is_heard(heard_here(hash, 1), hash, now);
}

enum {
	HEARD_NOT = 0,		/* and not to be noted */
	HEARD_YES = 1,
};

/* Or the hash by which to note it */
static __always_inline __u64 look_heard(struct __sk_buff *skb, const int from)
{
	struct plain q;
	__u64 hash;

	if (!may_skip(skb, from, &q))
		return HEARD_NOT;
	hash = hash_of(&q);
	return was_heard_here(hash) ? HEARD_YES : hash;
}

STAGE __u64 dnsfw_heard_frame(struct __sk_buff *skb)
{
	return look_heard(skb, FROM_ETHER);
}

STAGE __u64 dnsfw_heard_packet(struct __sk_buff *skb)
{
	return look_heard(skb, FROM_IP);
}

/* In the second place where the first is in use */
static __always_inline void note_heard_here(__u64 hash)
{
	__u64 *here = heard_here(hash, 0);
	__u32 now = bpf_jiffies64();

	if (here && (*here ^ hash) >> 32 && is_recent(*here, now))
		here = heard_here(hash, 1);
	if (here)
		*here = (hash & ~0xffffffffULL) | now;
}

#endif
