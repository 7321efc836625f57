/* SPDX-License-Identifier: GPL-2.0 */
/* Which socket of this host will take a packet: a look-up, because a packet
 * alone proves nothing.
 */
#ifndef DNSFW_RECEIVER_H
#define DNSFW_RECEIVER_H

#include "sender.h"

static __always_inline void
fill_tuple(const struct packet *p, struct bpf_sock_tuple *t)
{
	__u16 sport = host16(p->sport), dport = host16(p->dport);

	if (p->family == 4) {
		__builtin_memcpy(&t->ipv4.saddr, &p->src.b[12], 4);
		__builtin_memcpy(&t->ipv4.daddr, &p->dst.b[12], 4);
		t->ipv4.sport = sport;
		t->ipv4.dport = dport;
	} else {
		__builtin_memcpy(t->ipv6.saddr, &p->src, 16);
		__builtin_memcpy(t->ipv6.daddr, &p->dst, 16);
		t->ipv6.sport = sport;
		t->ipv6.dport = dport;
	}
}

/* The socket that will take @p, with a reference, or nothing; of a handshake
 * its listener. The size of the tuple says its family. @ctx is a packet's or
 * a call's.
 */
static __always_inline struct bpf_sock *
find_receiver(void *ctx, const struct packet *p)
{
	struct bpf_sock_tuple t = {};
	const __u64 here = BPF_F_CURRENT_NETNS;

	fill_tuple(p, &t);
	if (p->proto == PROTO_TCP && p->family == 4)
		return bpf_sk_lookup_tcp(ctx, &t, sizeof(t.ipv4), here, 0);
	if (p->proto == PROTO_TCP)
		return bpf_sk_lookup_tcp(ctx, &t, sizeof(t.ipv6), here, 0);
	if (p->family == 4)
		return bpf_sk_lookup_udp(ctx, &t, sizeof(t.ipv4), here, 0);
	return bpf_sk_lookup_udp(ctx, &t, sizeof(t.ipv6), here, 0);
}

/* dnsfw's listeners are everybody's own. One without a record is older than
 * the wall, and not yet labelled: `host`.
 */
static __always_inline bool
is_own_receiver(struct bpf_sock *sk, const struct sender *s)
{
	const struct dnsfw_sock *made;

	if (socket_get(dnsfw_own, sk))
		return true;
	made = socket_get(dnsfw_socks, sk);
	return (made && made->role ? made->role : DNSFW_ROLE_HOST) == s->role;
}

static __always_inline __u8
receiver_of(void *ctx, const struct packet *p, const struct sender *s)
{
	struct bpf_sock *sk;
	bool own;

	sk = find_receiver(ctx, p);
	if (sk) {
		own = is_own_receiver(sk, s);
		bpf_sk_release(sk);
		return own ? RECEIVER_OWN : RECEIVER_UNKNOWN;
	}
	/* the last words to a peer that has closed */
	return p->proto == PROTO_TCP && !p->payload && !(p->flags & TCP_SYN) ?
		       RECEIVER_GONE :
		       RECEIVER_UNKNOWN;
}

static __always_inline bool
reaches_own_only(const struct packet *p, const struct sender *s)
{
	const struct dnsfw_role *role;
	__u32 id = s->role;

	if (!is_loopback(&p->dst) || p->malformed || p->frag || !has_flow(p))
		return false;
	role = map_get(dnsfw_roles, &id);
	return role && role->loopback == DNSFW_LOOPBACK_OWN;
}

/* They look before judge(), which has no context, and only where it matters */
STAGE int dnsfw_look_over_lo(struct __sk_buff *skb, struct packet *p,
			     const struct sender *s)
{
	if (p && s && reaches_own_only(p, s))
		p->receiver = forget_one(receiver_of(skb, p, s), p->now);
	return 0;
}

STAGE int dnsfw_look_in_call(struct bpf_sock_addr *ctx, struct packet *p,
			     const struct sender *s)
{
	if (p && s && reaches_own_only(p, s))
		p->receiver = forget_one(receiver_of(ctx, p, s), p->now);
	return 0;
}

#endif
