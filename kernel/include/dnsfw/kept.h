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

#define KEPT_WRITING (1ULL << 63)	/* in a version: somebody is at it */

/* A SYN that was sent again is the same one; what follows it is another thing */
static __always_inline bool
fits(__u32 shape, __u32 seq, const struct plain *q)
{
	if (q->begins)
		return (shape & SHAPE_BEGUN) && seq == q->seq;
	return !(shape & SHAPE_BEGUN) &&
	       (!q->closes || (shape & SHAPE_CLOSING));
}

/* Two members, or half of an address */
union word {
	__u64 all;
	__u32 part[2];
};

/* At once, and not before @known is */
static __always_inline union word read_word(const void *at, __u64 known)
{
	union word word;

	asm volatile("%0 &= 0" : "+r"(known));
	word.all = *(const volatile __u64 *)(at + known);
	return word;
}

/* Several may write a record, and read it, at once. What is read counts if no
 * writer was there before, in the meantime or since: the version says it. No
 * barrier is to be had in every kernel; that an address depends on what was
 * read before keeps the order, too.
 */
static __always_inline bool
is_kept(const struct kept *live, const struct plain *q, __u32 role,
	__u32 now, __u32 now_generation, __u32 *shape)
{
	union word high, low, ports, whose, found, there[2];
	__u64 version, again;

	version = *(const volatile __u64 *)&live->version;
	ports = read_word(&live->ports, version);
	if (ports.part[0] != q->ports || (version & KEPT_WRITING))
		return false;
	high = read_word(&live->remote, version);
	low = read_word(&live->remote.b[8], version);
	whose = read_word(&live->role, version);
	found = read_word(&live->found, version);
	again = read_word(&live->version, ports.all | high.all | low.all |
						whose.all | found.all).all;
	__builtin_memcpy(there, &q->there, sizeof(there));
	*shape = ports.part[1];
	return again == version && high.all == there[0].all &&
	       low.all == there[1].all &&
	       (__u16)*shape == (q->proto | q->family << 8) &&
	       whose.part[0] == role && found.part[0] == now_generation &&
	       now - found.part[1] < KEPT_TICKS &&
	       fits(*shape, whose.part[1], q);
}

/* One writer at a time: who comes second keeps nothing. What was heard is of the
 * conversation that stands there.
 */
static __always_inline void keep_in(struct kept *live, const struct kept *k)
{
	__u64 version = *(volatile __u64 *)&live->version;

	if ((version & KEPT_WRITING) ||
	    __sync_val_compare_and_swap(&live->version, version,
					version | KEPT_WRITING) != version)
		return;
	if (k->ports != live->ports || !is_same(&k->remote, &live->remote))
		live->heard = k->found.at - KEPT_TICKS;
	live->remote = k->remote;
	live->ports = k->ports;
	live->shape = k->shape;
	live->role = k->role;
	live->seq = k->seq;
	live->found = k->found;
	__sync_lock_test_and_set(&live->version, version + 1);
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
is_found(__u64 netns, const struct plain *q, __u32 role, __u32 now,
	 __u32 now_generation, struct dnsfw_sock *made)
{
	struct dnsfw_flow_key key;
	struct dnsfw_flow *flow;
	struct found found;

	if (q->begins)
		return false;
	plain_key(&key, q, netns, now_generation);
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
	now_generation = generation();
	if (!now_generation || !read_plain(skb, from, &q, true))
		return false;
	now = bpf_jiffies64();
	made = socket_get(dnsfw_socks, sk);	/* nothing but of a full one */
	if (!knows_role(made))
		return false;
	role = made && made->role ? made->role : DNSFW_ROLE_HOST;
	if (made && is_kept(&made->pad_kept, &q, role, now, now_generation,
			    &shape)) {
		count_passed(role, (__u8)(shape >> SHAPE_REASON));
		return true;
	}
	full = bpf_sk_fullsock(sk);
	if (!full || full->type == KIND_RAW || full->family == FAMILY_PACKET ||
	    !is_found(netns_of(skb, true), &q, role, now, now_generation, made))
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
 * through by speaks for the call, too. Queries may have to be led elsewhere.
 */
STAGE int dnsfw_passes_call(struct bpf_sock_addr *ctx, const struct packet *p)
{
	__u32 now_generation, shape, role, now;
	struct dnsfw_sock *made;
	struct plain q = {};
	__u64 netns;

	if (!p || !ctx->sk || ctx->protocol != PROTO_UDP ||
	    ctx->user_port == host16(DNS_PORT))
		return false;
	made = socket_get(dnsfw_socks, ctx->sk);
	now_generation = generation();
	if (!made || !made->role || !now_generation)
		return false;
	role = made->role;
	q.there = p->dst;
	q.ports = host16(ctx->sk->src_port) | (__u32)ctx->user_port << 16;
	q.proto = PROTO_UDP;
	q.family = is_mapped(&p->dst) ? 4 : 6;
	now = bpf_jiffies64();
	if (is_kept(&made->pad_kept, &q, role, now, now_generation, &shape)) {
		count_passed(role, (__u8)(shape >> SHAPE_REASON));
		return true;
	}
	netns = HAS_NETNS_COOKIE ? bpf_get_netns_cookie(ctx) : 0;
	if (!is_found(netns, &q, role, now, now_generation, made))
		return false;
	count_passed(role, DNSFW_FLOW);
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
