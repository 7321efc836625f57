/* SPDX-License-Identifier: GPL-2.0 */
/* The host's end of a guest's link: a container's veth, a bridge's port, a LAN
 * device. Whatever a guest can send, it comes in here, so that not even
 * CAP_NET_RAW inside (AF_PACKET with QDISC_BYPASS, AF_XDP) passes unjudged.
 */
#include "include/dnsfw/inbound.h"

static __always_inline int judge_guest(struct __sk_buff *skb, const int from)
{
	struct decision d = {};
	struct packet p = {};
	struct sender s = {};
	bool pass;

	read_packet(skb, &p, from, false);
	p.forwarded = 1;
	s.role = DNSFW_ROLE_HOST;
	s.netns = p.netns;
	forget((__u64 *)&s, sizeof(s), p.now);
	pass = judge(&p, &s, &d, DNSFW_HOOK_TC_GUEST);
	if (d.reason == DNSFW_LISTENER)
		skb->mark = s.role;
	return pass ? TC_NEXT : TC_DROP;
}

/* what a guest sends */
PROG("tc")
int dnsfw_guest_in(struct __sk_buff *skb)
{
	return judge_guest(skb, FROM_ETHER);
}

PROG("tc")
int dnsfw_guest_in_l3(struct __sk_buff *skb)
{
	return judge_guest(skb, FROM_IP);
}

/* what is sent to a guest */
PROG("tc")
int dnsfw_guest_out(struct __sk_buff *skb)
{
	return TC_NEXT;
}

PROG("tc")
int dnsfw_guest_out_l3(struct __sk_buff *skb)
{
	return TC_NEXT;
}
