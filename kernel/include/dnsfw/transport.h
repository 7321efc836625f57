/* SPDX-License-Identifier: GPL-2.0 */
/* The ports, the flags, and what a fragment may be */
#ifndef DNSFW_TRANSPORT_H
#define DNSFW_TRANSPORT_H

#include "headers.h"

static __always_inline enum dnsfw_reason
parse_tcp(struct __sk_buff *skb, __u32 at, __u32 end, struct packet *p)
{
	struct tcp_header h;
	__u32 head;

	if (at + sizeof(h) > end ||
	    bpf_skb_load_bytes(skb, at, &h, sizeof(h)) < 0)
		return DNSFW_SHORT;
	head = (h.words >> 4) * 4;
	if (head < sizeof(h) || at + head > end)
		return DNSFW_SHORT;
	p->sport = host16(h.sport);
	p->dport = host16(h.dport);
	p->seq = h.seq;
	p->flags = h.flags;
	p->payload = at + head < end;
	return DNSFW_BY_NOTHING;
}

/* ports, or the type of an ICMP message: all within 8 bytes */
static __always_inline enum dnsfw_reason
parse_short(struct __sk_buff *skb, __u32 at, __u32 end, struct packet *p)
{
	__u16 h[4];

	if (at + sizeof(h) > end ||
	    bpf_skb_load_bytes(skb, at, h, sizeof(h)) < 0)
		return DNSFW_SHORT;
	if (p->proto == PROTO_ICMP) {
		p->icmp = host16(h[0]) >> 8;
	} else {
		p->sport = host16(h[0]);
		p->dport = host16(h[1]);
	}
	return DNSFW_BY_NOTHING;
}

static __always_inline enum dnsfw_reason
parse_l4(struct __sk_buff *skb, __u32 at, __u32 end, struct packet *p)
{
	enum dnsfw_reason bad = DNSFW_BY_NOTHING;

	switch (p->proto) {
	case PROTO_TCP:
		bad = parse_tcp(skb, at, end, p);
		break;
	case PROTO_ICMP:
	case PROTO_UDP:
	case PROTO_DCCP:
	case PROTO_SCTP:
	case PROTO_UDPLITE:
		bad = parse_short(skb, at, end, p);
		break;
	}
	/* RFC 1858, 3 and RFC 7112: a first fragment shows its ports */
	if (bad && p->frag == FRAGMENT_FIRST)
		return DNSFW_FRAG_HEADER;
	return bad;
}

/* @offset in units of 8 bytes. Returns a reason for what no fragment may be. */
static __always_inline enum dnsfw_reason
note_fragment(struct packet *p, __u16 offset, bool more, __u8 proto)
{
	p->frag = offset ? FRAGMENT_LATER : more ? FRAGMENT_FIRST :
						   FRAGMENT_NONE;
	p->frag_proto = proto;
	/* RFC 3128: offset 1 would rewrite the flags of the first fragment */
	if (proto == PROTO_TCP && offset == 1)
		return DNSFW_FRAG_HEADER;
	return DNSFW_BY_NOTHING;
}

#endif
