/* SPDX-License-Identifier: GPL-2.0 */
/* The same as cgroup ingress where only devices are guarded: the receiver is
 * looked up, for a packet alone proves nothing. Also tells the daemon the role
 * of a query that comes from outside.
 */
#include "include/dnsfw/frame.h"
#include "include/dnsfw/inbound.h"
#include "include/dnsfw/receiver.h"

/* TC cannot ask for the cgroup of a socket that it looked up */
static __always_inline void
find_receiver_role(struct bpf_sock *sk, struct sender *s)
{
	struct bpf_sock *full = bpf_sk_fullsock(sk);

	s->role = uses() & DNSFW_USES_CGROUPS ? DNSFW_ROLE_NONE :
						DNSFW_ROLE_HOST;
	if (!full)
		return;
	s->kind = SENDER_SOCKET;
	s->listens = full->state == STATE_LISTEN;
	if (socket_get(dnsfw_own, full))
		s->own = 1;
	use_record(s, socket_get(dnsfw_socks, full));
}

/* Over a veth the socket that sent in another namespace is still there: a
 * container that is a subject by its cgroup. Here is the only place where its
 * frames, which its own root may have rewritten since, show whose they are.
 */
static __always_inline bool comes_from_subject(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk, *full;
	const struct dnsfw_sock *made;

	if (!sk || !(uses() & (DNSFW_USES_CGROUPS | DNSFW_USES_IDS)))
		return false;
	full = bpf_sk_fullsock(sk);
	if (!full)
		full = bpf_get_listener_sock(sk);
	if (!full)
		return false;
	made = record_of(skb, full);
	return made && made->role >= DNSFW_ROLE_FIRST;
}

/* A `via` has conversations of its own */
static __always_inline void
note_answer_by_way(struct dnsfw_flow_key *key, const struct packet *p)
{
	if (p->malformed || p->frag || !has_flow(p) ||
	    !(uses() & DNSFW_USES_VIA))
		return;
	key->forwarded = DNSFW_PATH_VIA;
	note_answer(key, p);
	key->forwarded = DNSFW_PATH_SOCKET;
}

static __always_inline void
note_receiver(struct __sk_buff *skb, const struct packet *p)
{
	struct dnsfw_flow_key key;
	struct sender s = {};
	struct bpf_sock *sk;

	ingress_key(&key, p);
	note_answer_by_way(&key, p);
	if (!is_beginning(&key, p))
		return;
	sk = find_receiver(skb, p);
	if (!sk)
		return;
	find_receiver_role(sk, &s);
	if (s.kind == SENDER_SOCKET && !s.own &&
	    (p->proto == PROTO_UDP || s.listens)) {
		if (s.role == DNSFW_ROLE_NONE)
			record_inbound(&key, p, &s);
		else
			begin_inbound(&key, p, &s);
	}
	bpf_sk_release(sk);
}

static __always_inline int note_frame(struct __sk_buff *skb, const int from)
{
	struct packet p = {};
	__u32 role;

	if (comes_from_subject(skb))
		return judge_guest(skb, from);
	if (skb->mark & DNSFW_MARK_JUDGED)	/* not by us */
		skb->mark &= ~DNSFW_MARK_JUDGED;
	read_packet(skb, &p, from, false);
	if (!p.malformed && comes_to_listener(&p)) {
		role = role_of_address(&p.src, skb->ifindex);
		skb->mark = role ? role : DNSFW_ROLE_HOST;
	} else {
		note_receiver(skb, &p);
	}
	return TC_NEXT;
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
