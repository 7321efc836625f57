/* SPDX-License-Identifier: GPL-2.0 */
/* What comes in by a device, and which socket takes it: recorded there only
 * where no cgroup hook sees it.
 */
#ifndef DNSFW_ARRIVAL_H
#define DNSFW_ARRIVAL_H

#include "inbound.h"
#include "receiver.h"

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

/* True if it was nothing new */
static __always_inline bool
note_receiver(struct __sk_buff *skb, const struct packet *p)
{
	struct dnsfw_flow_key key;
	struct sender s = {};
	struct bpf_sock *sk;

	ingress_key(&key, p);
	note_answer_by_way(&key, p);
	if (!is_beginning(&key, p))
		return true;
	sk = find_receiver(skb, p);
	if (!sk)
		return false;
	find_receiver_role(sk, &s);
	if (s.kind == SENDER_SOCKET && !s.own &&
	    (p->proto == PROTO_UDP || s.listens)) {
		if (s.role == DNSFW_ROLE_NONE)
			record_inbound(&key, p, &s);
		else
			begin_inbound(&key, p, &s);
	}
	bpf_sk_release(sk);
	return false;
}

STAGE int dnsfw_note_receiver(struct __sk_buff *skb, const struct packet *p)
{
	return p && note_receiver(skb, p);
}

#endif
