/* SPDX-License-Identifier: GPL-2.0 */
/* IPv4 */
#ifndef DNSFW_IP4_H
#define DNSFW_IP4_H

#include "transport.h"

/* RFC 791, 3.1: source routes name the real destination where no look-up
 * sees it (RFC 7126, 4.3 and 4.4: drop). Other options pass.
 */
static __always_inline enum dnsfw_reason
parse_ip4_options(struct __sk_buff *skb, __u32 at, __u32 end, __u64 unknown)
{
	__u8 option[2];
	int i;

	at = forget_one(at, unknown);
	end = forget_one(end, unknown);
	for (i = 0; i <= MAX_OPTIONS; i++) {	/* the last round ends it */
		if (at >= end)
			return DNSFW_BY_NOTHING;
		if (bpf_skb_load_bytes(skb, at, option, 1) < 0)
			return DNSFW_SHORT;
		if (option[0] == 0)	/* end of list */
			return DNSFW_BY_NOTHING;
		if (option[0] == 1) {	/* no operation */
			at++;
			continue;
		}
		if (option[0] == 131 || option[0] == 137) /* LSRR, SSRR */
			return DNSFW_SOURCE_ROUTE;
		if (at + 2 > end || bpf_skb_load_bytes(skb, at, option, 2) < 0 ||
		    option[1] < 2)
			return DNSFW_BAD_IP;
		at += option[1];
	}
	return DNSFW_BAD_IP;
}

static __always_inline enum dnsfw_reason
parse_ip4(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	enum dnsfw_reason bad;
	struct ip4_header h;
	__u32 head, room;
	__u16 frag;

	if (bpf_skb_load_bytes(skb, at, &h, sizeof(h)) < 0)
		return DNSFW_SHORT;
	p->family = 4;
	map_ip4(&p->src, h.src);
	map_ip4(&p->dst, h.dst);
	head = (h.version_words & 15) * 4;
	room = skb->len - at;
	p->bytes = host16(h.bytes);
	if (!p->bytes && room > MAX_IP_BYTES)
		p->bytes = room;
	if (h.version_words >> 4 != 4 || head < sizeof(h) || p->bytes < head ||
	    p->bytes > room)
		return DNSFW_BAD_IP;
	p->ttl = h.ttl;
	/* ICMPv6 here is nobody's; 0 would equal an unused range (covers()) */
	p->proto = h.proto == PROTO_ICMP6 || !h.proto ? PROTO_RESERVED :
							h.proto;
	p->frag_id = h.id;
	frag = host16(h.frag);
	bad = note_fragment(p, frag & 0x1fff, frag & 0x2000, p->proto);
	if (!bad && head > sizeof(h))
		bad = parse_ip4_options(skb, at + sizeof(h), at + head,
					p->now);
	if (bad || p->frag == FRAGMENT_LATER)
		return bad;
	return parse_l4(skb, at + head, at + p->bytes, p);
}

#endif
