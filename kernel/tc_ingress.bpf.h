/* SPDX-License-Identifier: GPL-2.0 */
/* The same as cgroup ingress where only devices are guarded: the receiver is
 * looked up, for a packet alone proves nothing. Also tells the daemon the role
 * of a query that comes from outside.
 */
#include "include/dnsfw/frame.h"
#include "include/dnsfw/arrival.h"
#include "include/dnsfw/heard.h"

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

static __always_inline int note_frame(struct __sk_buff *skb, const int from)
{
	struct packet p = {};
	__u32 role;
	__u64 hash;

	hash = from == FROM_ETHER ? dnsfw_heard_frame(skb) :
				    dnsfw_heard_packet(skb);
	if (hash == HEARD_YES)
		return TC_NEXT;
	read_packet(skb, &p, from, false);
	if (comes_from_subject(skb))
		return dnsfw_come_in(skb, &p);
	if (skb->mark & DNSFW_MARK_JUDGED)	/* not by us */
		skb->mark &= ~DNSFW_MARK_JUDGED;
	if (!p.malformed && comes_to_listener(&p)) {
		role = role_of_address(&p.src, skb->ifindex);
		skb->mark = role ? role : DNSFW_ROLE_HOST;
	} else if (dnsfw_note_receiver(skb, &p) && hash) {
		note_heard_here(hash);
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
