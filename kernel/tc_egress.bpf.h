/* SPDX-License-Identifier: GPL-2.0 */
/* The second wall: every frame that leaves a device, forwarded traffic, packet
 * sockets and sockets older than the cgroup hook included.
 */
#include "include/dnsfw/frame.h"

static __always_inline int judge_frame(struct __sk_buff *skb, const int from)
{
	struct packet p = {};

	if (!skb->ingress_ifindex && !(uses() & DNSFW_USES_VIA) &&
	    (from == FROM_ETHER ? dnsfw_passes_frame(skb) :
				  dnsfw_passes_packet(skb)))
		return TC_NEXT;
	if (was_judged(skb)) {
		count_reason(DNSFW_JUDGED);
		return TC_NEXT;
	}
	read_packet(skb, &p, from, !skb->ingress_ifindex);
	p.forwarded = skb->ingress_ifindex != 0;
	return dnsfw_leave(skb, &p);
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
