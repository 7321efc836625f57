/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of a device share. "No objection" is "next", so that other
 * programs of the device still run.
 */
#ifndef DNSFW_FRAME_H
#define DNSFW_FRAME_H

#include "decide.h"
#include "kept.h"

enum {
	TC_NEXT = -1,		/* TC_ACT_UNSPEC, TCX_NEXT */
	TC_DROP = 2,		/* TC_ACT_SHOT, TCX_DROP */
};

/* What a guest sends is judged where it comes in, as it wrote it: behind NAT
 * or a bridge nobody could tell whose it is. What is sent to one is judged by
 * the program of that device. A daemon's own `host` policy speaks of neither.
 */
static __always_inline bool was_judged(struct __sk_buff *skb)
{
	__u16 tables;

	if (!skb->ingress_ifindex)
		return false;
	tables = uses();
	return tables && ((skb->mark & DNSFW_MARK_JUDGED) ||
			  ((tables & DNSFW_USES_DEVICES) &&
			   role_of_device(skb->ifindex)));
}

/* A reply that answer_guest() made, on its way back by the device that the
 * query came by: that one was judged. No guest brings this bit along: links
 * between namespaces wipe marks. What somebody else on this host marks with it
 * comes from a socket, or by another device.
 */
static __always_inline bool is_answer(struct __sk_buff *skb)
{
	return (skb->mark & DNSFW_MARK_ANSWERED) &&
	       skb->ingress_ifindex == skb->ifindex;
}

/* A frame that leaves, once it is read */
STAGE int dnsfw_leave(struct __sk_buff *skb, const struct packet *p)
{
	struct decision d = {};
	struct sender s = {};
	bool pass;

	if (!p)
		return TC_DROP;
	find_frame_sender(skb, p, &s);
	pass = judge(p, &s, &d, DNSFW_HOOK_TC_EGRESS);
	if (d.lasts && d.verdict == DNSFW_ALLOW)
		dnsfw_hold(skb, p, &s, &d);
	if (d.reason == DNSFW_LISTENER)
		skb->mark = s.role;
	return pass ? TC_NEXT : TC_DROP;
}

/* A frame that comes in, once it is read, as egress of the role that sent it */
STAGE int dnsfw_come_in(struct __sk_buff *skb, struct packet *p)
{
	struct decision d = {};
	struct sender s = {};
	bool pass;

	if (!p)
		return TC_DROP;
	p->forwarded = 1;
	find_guest(skb, p, &s);
	pass = judge(p, &s, &d, DNSFW_HOOK_TC_GUEST);
	if (d.reason == DNSFW_LISTENER)
		skb->mark = s.role;
	else if (pass && d.reason != DNSFW_UPKEEP)	/* that stays here */
		skb->mark |= DNSFW_MARK_JUDGED;
	return pass ? TC_NEXT : TC_DROP;
}


#endif
