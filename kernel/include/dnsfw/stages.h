/* SPDX-License-Identifier: GPL-2.0 */
/* The way of a guest's question: to the program that answers, before anybody
 * judges it, and back where that one does not. skb->cb holds the way; what lies
 * there from before keeps a frame from being answered, and from nothing else.
 */
#ifndef DNSFW_STAGES_H
#define DNSFW_STAGES_H

#include "dns.h"

#define WAS_LOOKED_AT 0x646e7366U

/* A plain query to our port, by the bytes in place; in pages they may be, too */
static __always_inline bool
may_be_question(struct __sk_buff *skb, const __u32 ip)
{
	const __u8 *h = (const __u8 *)(long)skb->data + ip;
	const __u8 *end = (const __u8 *)(long)skb->data_end;
	const struct dnsfw_settings *set = settings();
	__u16 port;

	if (!set || skb->vlan_present || skb->len < ip + LEAST_FRAME)
		return false;
	if (h + IP4_BYTES + UDP_BYTES > end)
		return skb->len <= MOST_FRAME;
	if (h[0] == 0x45 && h[9] == PROTO_UDP)
		port = *(const __u16 *)(h + IP4_BYTES + 2);
	else if (h[0] >> 4 != 6 || h[6] != PROTO_UDP ||
		 h + IP6_BYTES + UDP_BYTES > end)
		return false;
	else
		port = *(const __u16 *)(h + IP6_BYTES + 2);
	return port == host16(set->dns_port);
}

/* @back, a constant: who judges it, if it comes back */
static __always_inline bool
goes_to_answers(struct __sk_buff *skb, const __u32 ip, const __u32 back)
{
	if (skb->cb[0] == WAS_LOOKED_AT) {
		skb->cb[0] = 0;
		return false;
	}
	if (!may_be_question(skb, ip))
		return false;
	skb->cb[0] = back;
	return true;
}

static __always_inline __u32 take_way_back(struct __sk_buff *skb)
{
	__u32 back = skb->cb[0];

	skb->cb[0] = WAS_LOOKED_AT;
	return back;
}

#endif
