/* SPDX-License-Identifier: GPL-2.0 */
/* The second wall: every frame that leaves a device, forwarded traffic, packet
 * sockets and sockets older than the cgroup hook included. "No objection" is
 * "next", so that other programs of the device still run.
 */
#include "include/dnsfw/decide.h"

enum {
	TC_NEXT = -1,		/* TC_ACT_UNSPEC, TCX_NEXT */
	TC_DROP = 2,		/* TC_ACT_SHOT, TCX_DROP */
};

static __always_inline int judge_frame(struct __sk_buff *skb, const int from)
{
	struct decision d = {};
	struct packet p = {};
	struct sender s = {};
	bool pass;

	read_packet(skb, &p, from, !skb->ingress_ifindex);
	p.forwarded = skb->ingress_ifindex != 0;
	find_sender(skb, &p, &s);
	pass = judge(&p, &s, &d, DNSFW_HOOK_TC_EGRESS);
	if (d.reason == DNSFW_LISTENER)
		skb->mark = s.role;
	return pass ? TC_NEXT : TC_DROP;
}

PROG("tc")
int dnsfw_tc_egress(struct __sk_buff *skb)
{
	return judge_frame(skb, FROM_ETHER);
}

/* devices without a link header: tun, WireGuard, IP tunnels */
PROG("tc")
int dnsfw_tc_egress_l3(struct __sk_buff *skb)
{
	return judge_frame(skb, FROM_IP);
}
