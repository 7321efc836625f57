/* SPDX-License-Identifier: GPL-2.0 */
/* Headers, as they lie on the wire */
#ifndef DNSFW_HEADERS_H
#define DNSFW_HEADERS_H

#include "packet.h"

struct tag_header {
	__u16 id;
	__u16 type;
};

struct ip4_header {
	__u8 version_words;
	__u8 tos;
	__u16 bytes;
	__u16 id;
	__u16 frag;
	__u8 ttl;
	__u8 proto;
	__u16 check;
	__u32 src;
	__u32 dst;
};
_Static_assert(sizeof(struct ip4_header) == 20, "RFC 791, 3.1");

struct ip6_header {
	__u32 version_flow;
	__u16 payload;
	__u8 next;
	__u8 hops;
	struct dnsfw_addr src;
	struct dnsfw_addr dst;
};
_Static_assert(sizeof(struct ip6_header) == 40, "RFC 8200, 3");

/* Hop-by-hop, routing, fragment and destination headers in one shape */
struct ext_header {
	__u8 next;
	__u8 words;		/* of 8 bytes, without the first */
	__u16 frag;		/* routing: type, segments left */
	__u32 id;
};
_Static_assert(sizeof(struct ext_header) == 8, "RFC 8200, 4");

struct tcp_header {
	__u16 sport;
	__u16 dport;
	__u32 seq;
	__u32 ack;
	__u8 words;
	__u8 flags;
	__u16 window;
	__u32 check_urgent;
};
_Static_assert(sizeof(struct tcp_header) == 20, "RFC 9293, 3.1");

#endif
