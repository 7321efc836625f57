/* SPDX-License-Identifier: GPL-2.0 */
/* TC egress on lo, where devices alone are guarded and no cgroup hook sees what
 * a socket of this host sends to itself: tells the daemon who asks, and drops
 * what would make the kernel answer a made-up source by a device. Nothing else
 * is judged here.
 */
#include "include/dnsfw/frame.h"

/* Of a shape that no one can read only the source counts */
static __always_inline bool
lies_over_lo(const struct packet *p, const struct sender *s)
{
	if (s->own || p->forwarded)
		return false;
	if (!p->malformed)
		return is_spoofed(p, s);
	return !is_loopback(&p->src) && keeps_locals(p->netns) &&
	       !is_local(p->netns, &p->src);
}

PROG("tc")
int dnsfw_tc_lo(struct __sk_buff *skb)
{
	struct packet p = {};
	struct sender s = {};

	read_packet(skb, &p, FROM_ETHER, !skb->ingress_ifindex);
	p.forwarded = skb->ingress_ifindex != 0;
	find_sender(skb, &p, &s);
	if (lies_over_lo(&p, &s) &&
	    refuse(&p, &s, DNSFW_SPOOFED, DNSFW_HOOK_TC_EGRESS))
		return TC_DROP;
	if (!p.malformed && to_listener(&p)) {
		skb->mark = s.role;
		stage_call(dnsfw_stages, skb, DNSFW_STAGE_LO);
	}
	return TC_NEXT;
}
