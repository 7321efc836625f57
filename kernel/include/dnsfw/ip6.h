/* SPDX-License-Identifier: GPL-2.0 */
/* IPv6, and its chain of headers */
#ifndef DNSFW_IP6_H
#define DNSFW_IP6_H

#include "transport.h"

static __always_inline bool is_extension(__u8 next)
{
	return next == PROTO_HOP_OPTIONS || next == PROTO_ROUTING ||
	       next == PROTO_FRAGMENT || next == PROTO_DEST_OPTIONS;
}

/* Leaves at the upper layer, or at a later fragment, whose upper layer is
 * anyone's guess.
 */
static __always_inline enum dnsfw_reason
parse_ip6_chain(struct __sk_buff *skb, __u32 at, __u32 end, __u8 next,
		struct packet *p)
{
	struct ext_header h;
	bool split = false;
	__u16 frag;
	int i;

	for (i = 0; i < MAX_EXTENSIONS && is_extension(next); i++) {
		if (at + sizeof(h) > end ||
		    bpf_skb_load_bytes(skb, at, &h, sizeof(h)) < 0)
			return split ? DNSFW_FRAG_HEADER : DNSFW_SHORT;
		/* RFC 5095, 8754: segments left means another destination */
		if (next == PROTO_ROUTING && (host16(h.frag) & 0xff))
			return DNSFW_ROUTING_HEADER;
		if (next == PROTO_FRAGMENT) {
			if (split)
				return DNSFW_EXT_CHAIN;
			split = true;
			frag = host16(h.frag);
			p->frag_id = h.id;
			p->proto = h.next;
			if (note_fragment(p, frag >> 3, frag & 1, h.next))
				return DNSFW_FRAG_HEADER;
			if (p->frag == FRAGMENT_LATER)
				return DNSFW_BY_NOTHING;
			h.words = 0;
		}
		next = h.next;
		at += (h.words + 1) * 8;
	}
	if (is_extension(next))
		return DNSFW_EXT_CHAIN;
	p->proto = next == PROTO_ICMP6 ? PROTO_ICMP :
		   next == PROTO_ICMP  ? PROTO_RESERVED :
					 next;
	return parse_l4(skb, at, end, p);
}

static __always_inline enum dnsfw_reason
parse_ip6(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	struct ip6_header h;
	__u32 room;

	if (bpf_skb_load_bytes(skb, at, &h, sizeof(h)) < 0)
		return DNSFW_SHORT;
	p->family = 6;
	p->src = h.src;
	p->dst = h.dst;
	room = skb->len - at;
	p->bytes = host16(h.payload) + sizeof(h);
	if (!h.payload && room > MAX_IP_BYTES)
		p->bytes = room;
	/* A mapped address on the wire would borrow the grants of IPv4 */
	if ((host32(h.version_flow) >> 28) != 6 || p->bytes > room ||
	    is_mapped(&h.dst) || is_mapped(&h.src))
		return DNSFW_BAD_IP;
	p->ttl = h.hops;
	return parse_ip6_chain(skb, at + sizeof(h), at + p->bytes, h.next, p);
}

#endif
