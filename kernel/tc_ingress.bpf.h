/* SPDX-License-Identifier: GPL-2.0 */
/* The same as cgroup ingress where only devices are guarded: the receiver is
 * looked up, for a packet alone proves nothing. Also tells the daemon the role
 * of a query that comes from outside.
 */
#include "include/dnsfw/inbound.h"

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

/* The socket that will take @p, with a reference, or nothing. The size of the
 * tuple says its family.
 */
static __always_inline struct bpf_sock *
find_receiver(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple t = {};
	const __u64 here = BPF_F_CURRENT_NETNS;

	fill_tuple(p, &t);
	if (p->proto == PROTO_TCP && p->family == 4)
		return bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv4), here, 0);
	if (p->proto == PROTO_TCP)
		return bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv6), here, 0);
	if (p->family == 4)
		return bpf_sk_lookup_udp(skb, &t, sizeof(t.ipv4), here, 0);
	return bpf_sk_lookup_udp(skb, &t, sizeof(t.ipv6), here, 0);
}

static __always_inline void
find_receiver_role(struct bpf_sock *sk, struct sender *s)
{
	struct bpf_sock *full = bpf_sk_fullsock(sk);

	s->role = DNSFW_ROLE_HOST;
	if (!full)
		return;
	s->kind = SENDER_SOCKET;
	s->listens = full->state == STATE_LISTEN;
	if (socket_get(dnsfw_own, full))
		s->own = 1;
	use_record(s, socket_get(dnsfw_socks, full));
}

static __always_inline int note_frame(struct __sk_buff *skb, const int from)
{
	struct dnsfw_flow_key key;
	struct packet p = {};
	struct sender s = {};
	struct bpf_sock *sk;

	read_packet(skb, &p, from, false);
	if (!p.malformed && to_listener(&p)) {
		skb->mark = DNSFW_ROLE_HOST;
		return -1;
	}
	ingress_key(&key, &p);
	if (!is_beginning(&key, &p))
		return -1;
	sk = find_receiver(skb, &p);
	if (!sk)
		return -1;
	find_receiver_role(sk, &s);
	if (s.kind == SENDER_SOCKET && !s.own &&
	    (p.proto == PROTO_UDP || s.listens))
		begin_inbound(&key, &p, &s);
	bpf_sk_release(sk);
	return -1;
}

PROG("tc")
int dnsfw_tc_ingress(struct __sk_buff *skb)
{
	return note_frame(skb, FROM_ETHER);
}

PROG("tc")
int dnsfw_tc_ingress_l3(struct __sk_buff *skb)
{
	return note_frame(skb, FROM_IP);
}
