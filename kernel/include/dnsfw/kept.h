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

#include "decide.h"
#include "plain.h"

enum {
	KEPT_TICKS = 25,	/* jiffies: 25 to 250 ms */
	SHAPE_REASON = 16,	/* bits of kept.shape: where the reason stands */
	SHAPE_CLOSING = 1 << 24,	/* FIN or RST was noted in its row */
	SHAPE_BEGUN = 1 << 25,	/* its SYN was let pass, no more */
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
	seal ^= seal >> 29;
	return (seal ^ ((__u64)k->seq << 32 | k->role)) * 0xbf58476d1ce4e5b9ULL;
}

/* A SYN that was sent again is the same one; what follows it is another thing */
static __always_inline bool
fits(const struct kept *k, const struct plain *q)
{
	if (q->begins)
		return (k->shape & SHAPE_BEGUN) && k->seq == q->seq;
	return !(k->shape & SHAPE_BEGUN) &&
	       (!q->closes || (k->shape & SHAPE_CLOSING));
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
	       now - k.found.at < KEPT_TICKS && fits(&k, q) &&
	       k.seal == seal_of(&k);
}

/* What was heard is of the conversation that stands there */
static __always_inline void keep_in(struct kept *live, struct kept *k)
{
	k->heard = live->heard;
	if (k->ports != live->ports || !is_same(&k->remote, &live->remote))
		k->heard = k->found.at - KEPT_TICKS;
	k->seal = seal_of(k);
	*live = *k;
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

/* A TCP socket has one conversation; a datagram's next is to anybody */
static __always_inline void
keep_found(struct dnsfw_sock *made, const struct plain *q, __u32 role,
	   struct found found)
{
	struct kept k = {};

	if (!made || q->proto != PROTO_TCP)
		return;
	k.remote = q->there;
	k.ports = q->ports;
	k.shape = q->proto | q->family << 8 | DNSFW_FLOW << SHAPE_REASON;
	if (q->closes)
		k.shape |= SHAPE_CLOSING;
	k.role = role;
	k.found = found;
	keep_in(&made->pad_kept, &k);
}

/* By the row of a conversation that was judged a moment ago, for this socket or
 * another: datagrams to many, above all. A whole judgement would write the same
 * state (note_egress), and no later time.
 */
static __always_inline bool
is_found(struct __sk_buff *skb, const struct plain *q, __u32 role, __u32 now,
	 __u32 now_generation, struct dnsfw_sock *made)
{
	struct dnsfw_flow_key key;
	struct dnsfw_flow *flow;
	struct found found;

	if (q->begins)
		return false;
	plain_key(&key, q, netns_of(skb, true), now_generation);
	flow = map_get(dnsfw_flows, &key);
	if (!flow || flow->role != role)
		return false;
	found = found_in(flow);
	if (found.generation != stamp_of(now_generation, flow->rule) ||
	    now - found.at >= KEPT_TICKS)
		return false;
	found.generation = now_generation;
	if (q->closes)
		flow->state = DNSFW_FLOW_CLOSING;
	else if (q->proto == PROTO_TCP && flow->state == DNSFW_FLOW_NEW)
		flow->state = DNSFW_FLOW_OPEN;
	keep_found(made, q, role, found);
	return true;
}

/* Whose an older socket is, its cgroup says, if that can be a subject */
static __always_inline bool knows_role(const struct dnsfw_sock *made)
{
	return (made && made->role) || !(uses() & DNSFW_USES_CGROUPS);
}

/* True: it passes, and is counted. Over lo, and by devices where a `via` may
 * speak, everything is judged whole. @from is a constant.
 */
static __always_inline bool
passes_at_once(struct __sk_buff *skb, const int from)
{
	struct bpf_sock *sk = skb->sk, *full;
	__u32 now, now_generation, shape, role;
	struct dnsfw_sock *made;
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
	if (!knows_role(made))
		return false;
	role = made && made->role ? made->role : DNSFW_ROLE_HOST;
	if (made && is_kept(&made->pad_kept, &q, role, now, now_generation,
			    &shape)) {
		count_passed(role, (__u8)(shape >> SHAPE_REASON));
		return true;
	}
	if (full->type == KIND_RAW || full->family == FAMILY_PACKET ||
	    !is_found(skb, &q, role, now, now_generation, made))
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

/* A datagram of an unconnected socket, before it is one: what its packets are let
 * through by speaks for the call, too.
 */
STAGE int dnsfw_passes_call(struct bpf_sock_addr *ctx, const struct packet *p)
{
	const struct dnsfw_sock *made;
	__u32 now_generation, shape;
	struct plain q = {};

	if (!p || !ctx->sk)
		return false;
	made = socket_get(dnsfw_socks, ctx->sk);
	now_generation = generation();
	if (!made || !made->role || !now_generation)
		return false;
	q.there = p->dst;
	q.ports = host16(ctx->sk->src_port) | (__u32)ctx->user_port << 16;
	q.proto = ctx->protocol;
	q.family = is_mapped(&p->dst) ? 4 : 6;
	if (q.proto != PROTO_UDP ||
	    !is_kept(&made->pad_kept, &q, made->role, bpf_jiffies64(),
		     now_generation, &shape))
		return false;
	count_passed(made->role, (__u8)(shape >> SHAPE_REASON));
	return true;
}

/* After a whole judgement of a socket's own packet: what passes by it from now
 * on is of the conversation, also where this one began it
 */
static __always_inline void
hold(struct __sk_buff *skb, const struct packet *p, const struct sender *s,
     const struct decision *d)
{
	struct bpf_sock *sk = skb->sk, *full;
	const bool begun = begins(d);
	struct dnsfw_sock *made;
	struct kept k = {};

	if (!begun && d->reason != DNSFW_FLOW && d->reason != DNSFW_INBOUND)
		return;
	if (!has_flow(p) || s->kind != SENDER_SOCKET || s->raw || s->listens ||
	    s->by_way || p->forwarded || p->frag || !sk ||
	    ((p->flags & TCP_SYN) && !(begun && is_syn(p))) ||
	    p->ifindex == LOOPBACK_IFINDEX)
		return;
	full = bpf_sk_fullsock(sk);
	if (!full)
		return;
	made = socket_make(dnsfw_socks, full);
	if (!made)
		return;
	k.remote = p->dst;
	k.ports = host16(p->sport) | (__u32)host16(p->dport) << 16;
	k.shape = p->proto | p->family << 8 |
		  (begun ? DNSFW_FLOW : d->reason) << SHAPE_REASON;
	if (p->flags & (TCP_FIN | TCP_RST))
		k.shape |= SHAPE_CLOSING;
	if (is_syn(p)) {
		k.shape |= SHAPE_BEGUN;
		k.seq = p->seq;
	}
	k.role = s->role;
	k.found.generation = p->generation;
	k.found.at = bpf_jiffies64();
	keep_in(&made->pad_kept, &k);
}

STAGE int dnsfw_hold(struct __sk_buff *skb, const struct packet *p,
		     const struct sender *s, const struct decision *d)
{
	if (p && s && d)
		hold(skb, p, s, d);
	return 0;
}

#endif
