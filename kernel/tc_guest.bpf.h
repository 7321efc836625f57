/* SPDX-License-Identifier: GPL-2.0 */
/* The host's end of a guest's link: a container's veth, a bridge's port, a LAN
 * device. Whatever a guest can send, it comes in here, so that not even
 * CAP_NET_RAW inside (AF_PACKET with QDISC_BYPASS, AF_XDP) passes unjudged.
 */
#include "include/dnsfw/frame.h"
#include "include/dnsfw/visit.h"

/* What is sent to a guest: its answers, and who may begin with it */
static __always_inline int judge_visit(struct __sk_buff *skb, const int from)
{
	struct decision d = {};
	struct packet p = {};
	struct sender s = {};

	read_packet(skb, &p, from, false);
	p.forwarded = 1;
	find_host(skb, &p, &s);
	return visit(&p, &s, &d) ? TC_NEXT : TC_DROP;
}

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

PROG("tc")
int dnsfw_guest_out(struct __sk_buff *skb)
{
	return judge_visit(skb, FROM_ETHER);
}

PROG("tc")
int dnsfw_guest_out_l3(struct __sk_buff *skb)
{
	return judge_visit(skb, FROM_IP);
}
