/* SPDX-License-Identifier: GPL-2.0 */
/* What needs no second judgement. A conversation that was judged whole, and
 * found to live by a rule that has no end of its own, passes for KEPT_TICKS by
 * one look-up: of its socket's record, which holds the last one, or of its row
 * in flows. So what a whole judgement does (when it was seen last, whether it
 * idled) is done often enough for every limit, and all that takes a
 * conversation's permission away counts at once: the daemon raises the
 * generation past each such change (swap.py: reload, lockdown, audit, a flow
 * that is cut). Another role of the socket or of the flow shows in both.
 *
 * The generation is read before anything that it speaks for.
 */
#ifndef DNSFW_KEPT_H
#define DNSFW_KEPT_H

#include "plain.h"
#include "flows.h"

enum {
	KEPT_TICKS = 25,	/* jiffies: 25 to 250 ms */
	SHAPE_REASON = 16,	/* bits of kept.shape: where the reason stands */
	SHAPE_CLOSING = 24,	/* FIN or RST was noted in its row */
};

/* Several may write a record, and read it, at once: half of one conversation
 * with half of another's has no such seal. Each step can be undone, so that two
 * which differ in one word never share theirs.
 */
static __always_inline __u64 seal_of(const struct kept *k)
{
	__u64 word[2], seal;

	__builtin_memcpy(word, &k->remote, sizeof(word));
	seal = word[0] * 0x9e3779b97f4a7c15ULL;
	seal ^= seal >> 32;
	seal = (seal ^ word[1]) * 0xbf58476d1ce4e5b9ULL;
	seal ^= seal >> 29;
	seal = (seal ^ ((__u64)k->shape << 32 | k->ports)) * 0x94d049bb133111ebULL;
	seal ^= seal >> 32;
	seal = (seal ^ ((__u64)k->found.generation << 32 | k->found.at)) *
	       0x9e3779b97f4a7c15ULL;
	return seal ^ (seal >> 29) ^ k->role;
}

static __always_inline bool
is_kept(const struct kept *live, const struct plain *q, __u32 role,
	__u32 now, __u32 now_generation, __u32 *shape)
{
	struct kept k;

	__builtin_memcpy(&k, live, sizeof(k));
	asm volatile("" : : : "memory");	/* what is compared is what was read */
	*shape = k.shape;
	return k.ports == q->ports && is_same(&k.remote, &q->there) &&
	       (__u16)k.shape == (q->proto | q->family << 8) &&
	       k.role == role && k.found.generation == now_generation &&
	       now - k.found.at < KEPT_TICKS &&
	       (!q->closes || (k.shape >> SHAPE_CLOSING)) &&
	       k.seal == seal_of(&k);
}

static __always_inline void
plain_key(struct dnsfw_flow_key *key, const struct plain *q, __u64 netns,
	  __u32 now_generation)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->netns = netns;
	key->remote = q->there;
	key->local_port = host16((__u16)q->ports);
	key->remote_port = host16(q->ports >> 16);
	key->proto = q->proto;
	key->pad = nothing_of(now_generation);
}

/* The row of a conversation that was judged, not long ago, by this socket or by
 * another: datagrams to many, above all.
 */
static __always_inline bool
is_found(struct __sk_buff *skb, const struct plain *q, __u32 role, __u32 now,
	 __u32 now_generation)
{
	struct dnsfw_flow_key key;
	const struct dnsfw_flow *flow;
	struct found found;

	plain_key(&key, q, netns_of(skb, true), now_generation);
	flow = map_get(dnsfw_flows, &key);
	if (!flow || flow->role != role)
		return false;
	found = found_in(flow);
	if (found.generation != now_generation || now - found.at >= KEPT_TICKS)
		return false;
	if (q->closes)
		return flow->state == DNSFW_FLOW_CLOSING;
	return q->proto == PROTO_UDP || flow->state != DNSFW_FLOW_NEW;
}

/* True: it passes, and is counted. Over lo, and by devices where a `via` may
 * speak, everything is judged whole. @from is a constant.
 */
static __always_inline bool
passes_at_once(struct __sk_buff *skb, const int from)
{
	struct bpf_sock *sk = skb->sk, *full;
	__u32 now, now_generation, shape, role;
	const struct dnsfw_sock *made;
	struct plain q;

	if (!sk || skb->ifindex == LOOPBACK_IFINDEX)
		return false;
	full = bpf_sk_fullsock(sk);
	if (!full)
		return false;
	now_generation = generation();
	if (!now_generation || !read_plain(skb, from, &q, true))
		return false;
	now = bpf_jiffies64();
	made = socket_get(dnsfw_socks, full);
	role = made && made->role ? made->role : DNSFW_ROLE_HOST;
	if (made && is_kept(&made->pad_kept, &q, role, now, now_generation,
			    &shape)) {
		count_passed(role, (__u8)(shape >> SHAPE_REASON));
		return true;
	}
	/* whose an older socket is, its cgroup says */
	if ((!made || !made->role) && (uses() & DNSFW_USES_CGROUPS))
		return false;
	if (full->type == KIND_RAW || full->family == FAMILY_PACKET ||
	    !is_found(skb, &q, role, now, now_generation))
		return false;
	count_passed(role, DNSFW_FLOW);
	return true;
}

STAGE int dnsfw_passes_packet(struct __sk_buff *skb)
{
	return passes_at_once(skb, FROM_IP);
}

STAGE int dnsfw_passes_frame(struct __sk_buff *skb)
{
	return passes_at_once(skb, FROM_ETHER);
}

/* After a whole judgement of a socket's own packet */
static __always_inline void
hold(struct __sk_buff *skb, const struct packet *p, const struct sender *s,
     const struct decision *d)
{
	struct bpf_sock *sk = skb->sk, *full;
	struct dnsfw_sock *made;
	struct kept k = {};

	if (!d->lasts || s->kind != SENDER_SOCKET || s->raw || s->listens ||
	    s->by_way || p->forwarded || p->frag || !sk ||
	    (p->flags & TCP_SYN) || p->ifindex == LOOPBACK_IFINDEX)
		return;
	full = bpf_sk_fullsock(sk);
	if (!full)
		return;
	made = socket_make(dnsfw_socks, full);
	if (!made)
		return;
	k.remote = p->dst;
	k.ports = host16(p->sport) | (__u32)host16(p->dport) << 16;
	k.shape = p->proto | p->family << 8 | d->reason << SHAPE_REASON;
	if (p->flags & (TCP_FIN | TCP_RST))
		k.shape |= 1U << SHAPE_CLOSING;
	k.role = s->role;
	k.found.generation = p->generation;
	k.found.at = bpf_jiffies64();
	k.heard = made->pad_kept.heard;
	if (k.ports != made->pad_kept.ports ||
	    !is_same(&k.remote, &made->pad_kept.remote))
		k.heard = k.found.at - KEPT_TICKS;
	k.seal = seal_of(&k);
	made->pad_kept = k;
}

STAGE int dnsfw_hold(struct __sk_buff *skb, const struct packet *p,
		     const struct sender *s, const struct decision *d)
{
	if (p && s && d)
		hold(skb, p, s, d);
	return 0;
}

#endif
