/* SPDX-License-Identifier: GPL-2.0 */
/* The host's end of a guest's link: a container's veth, a bridge's port, a LAN
 * device. Whatever a guest can send, it comes in here, so that not even
 * CAP_NET_RAW inside (AF_PACKET with QDISC_BYPASS, AF_XDP) passes unjudged.
 */
#include "include/dnsfw/frame.h"
#include "include/dnsfw/stages.h"
#include "include/dnsfw/arrival.h"
#include "include/dnsfw/visit.h"

/* What is sent to a guest: its answers, and who may begin with it. Seen from
 * the guest's side, even what this host sends is from outside.
 */
STAGE int dnsfw_enter(struct __sk_buff *skb, struct packet *p)
{
	struct decision d = {};
	struct sender s = {};

	if (!p)
		return TC_DROP;
	p->netns = device_netns();
	p->forwarded = 1;
	find_host(skb, p, &s);
	return visit(p, &s, &d) ? TC_NEXT : TC_DROP;
}

static __always_inline int judge_visit(struct __sk_buff *skb, const int from)
{
	struct packet p = {};

	if (is_answer(skb))
		return TC_NEXT;
	read_packet(skb, &p, from, false);
	return dnsfw_enter(skb, &p);
}

/* Where the same device is guarded as one of the host's: its own packets are
 * judged before the guest is asked, and what its own sockets take is noted.
 */
static __always_inline int judge_edge_out(struct __sk_buff *skb, const int from)
{
	struct packet p = {};

	if (is_answer(skb))
		return TC_NEXT;
	read_packet(skb, &p, from, !skb->ingress_ifindex);
	if (!skb->ingress_ifindex && dnsfw_leave(skb, &p) == TC_DROP)
		return TC_DROP;
	return dnsfw_enter(skb, &p);
}

static __always_inline int judge_guest(struct __sk_buff *skb, const int from)
{
	struct packet p = {};

	read_packet(skb, &p, from, false);
	return dnsfw_come_in(skb, &p);
}

static __always_inline int judge_edge_in(struct __sk_buff *skb, const int from)
{
	struct packet p = {};

	read_packet(skb, &p, from, false);
	if (dnsfw_come_in(skb, &p) == TC_DROP)
		return TC_DROP;
	p.forwarded = 0;	/* as the host's own sees it */
	dnsfw_note_receiver(skb, &p);
	return TC_NEXT;
}

PROG("tc")
int dnsfw_guest_in(struct __sk_buff *skb)
{
	if (goes_to_answers(skb, ETHER_BYTES, DNSFW_STAGE_BACK))
		stage_call(dnsfw_stages, skb, DNSFW_STAGE_GUEST);
	return judge_guest(skb, FROM_ETHER);
}

PROG("tc")
int dnsfw_guest_in_l3(struct __sk_buff *skb)
{
	if (goes_to_answers(skb, 0, DNSFW_STAGE_BACK_L3))
		stage_call(dnsfw_stages, skb, DNSFW_STAGE_GUEST_L3);
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

PROG("tc")
int dnsfw_edge_in(struct __sk_buff *skb)
{
	if (goes_to_answers(skb, ETHER_BYTES, DNSFW_STAGE_BACK_EDGE))
		stage_call(dnsfw_stages, skb, DNSFW_STAGE_GUEST);
	return judge_edge_in(skb, FROM_ETHER);
}

PROG("tc")
int dnsfw_edge_in_l3(struct __sk_buff *skb)
{
	if (goes_to_answers(skb, 0, DNSFW_STAGE_BACK_EDGE_L3))
		stage_call(dnsfw_stages, skb, DNSFW_STAGE_GUEST_L3);
	return judge_edge_in(skb, FROM_IP);
}

PROG("tc")
int dnsfw_edge_out(struct __sk_buff *skb)
{
	return judge_edge_out(skb, FROM_ETHER);
}

PROG("tc")
int dnsfw_edge_out_l3(struct __sk_buff *skb)
{
	return judge_edge_out(skb, FROM_IP);
}
