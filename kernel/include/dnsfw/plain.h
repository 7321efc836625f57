/* SPDX-License-Identifier: GPL-2.0 */
/* The packets that most are: TCP and UDP under an IP header without options,
 * whole, with ports and lengths as they should be. Whatever differs is left to
 * parse.h, which reads anything; what is read here would be read there alike.
 */
#ifndef DNSFW_PLAIN_H
#define DNSFW_PLAIN_H

#include "headers.h"

enum {
	PLAIN_BYTES = 40,	/* IPv4 and TCP; IPv6 alone */
	LINK_BYTES = 14,
};

/* The other end, and our port: of what leaves, or of what comes in */
struct plain {
	struct dnsfw_addr there;
	__u32 ports;		/* ours, theirs: as on the wire */
	__u32 seq;
	__u8 proto;
	__u8 family;
	__u8 closes;		/* FIN or RST */
	__u8 begins;		/* SYN */
};

union plain_head {
	struct {
		struct ip4_header ip;
		struct tcp_header tcp;
	} v4;
	struct ip6_header v6;
};
_Static_assert(sizeof(union plain_head) == PLAIN_BYTES, "one look at the end");

/* @bytes: from the header on, as IP says. What comes in and begins something, or
 * on the way out what answers that, is for others to see.
 */
static __always_inline bool
read_plain_tcp(const struct tcp_header *h, __u32 bytes, struct plain *q,
	       bool leaves)
{
	__u32 head = (h->words >> 4) * 4;
	const __u8 syn = h->flags & (TCP_SYN | TCP_ACK);

	q->closes = h->flags & (TCP_FIN | TCP_RST);
	q->begins = h->flags & TCP_SYN;
	q->seq = h->seq;
	return head >= sizeof(*h) && head <= bytes &&
	       syn != (leaves ? TCP_SYN | TCP_ACK : TCP_SYN) &&
	       !(q->begins && q->closes);
}

static __always_inline bool
read_plain4(const union plain_head *h, __u32 room, struct plain *q, bool leaves)
{
	__u32 bytes = host16(h->v4.ip.bytes);

	if (h->v4.ip.version_words != 0x45 || bytes < PLAIN_BYTES ||
	    bytes > room || (h->v4.ip.frag & host16(0x3fff)))
		return false;
	q->family = 4;
	q->proto = h->v4.ip.proto;
	map_ip4(&q->there, leaves ? h->v4.ip.dst : h->v4.ip.src);
	__builtin_memcpy(&q->ports, &h->v4.tcp, sizeof(q->ports));
	if (q->proto == PROTO_TCP)
		return read_plain_tcp(&h->v4.tcp, bytes - sizeof(h->v4.ip), q,
				      leaves);
	return q->proto == PROTO_UDP;
}

static __always_inline bool
read_plain6(const union plain_head *h, const __u8 *end, __u32 room,
	    struct plain *q, bool leaves)
{
	const struct tcp_header *tcp = (const struct tcp_header *)(h + 1);
	__u32 bytes = host16(h->v6.payload);

	if ((const __u8 *)(tcp + 1) > end || bytes < sizeof(*tcp) ||
	    bytes + PLAIN_BYTES > room || is_mapped(&h->v6.dst) ||
	    is_mapped(&h->v6.src))
		return false;
	q->family = 6;
	q->proto = h->v6.next;
	q->there = leaves ? h->v6.dst : h->v6.src;
	__builtin_memcpy(&q->ports, tcp, sizeof(q->ports));
	if (q->proto == PROTO_TCP)
		return read_plain_tcp(tcp, bytes, q, leaves);
	return q->proto == PROTO_UDP;
}

/* @from and @leaves are constants. False: look closer. Headers that do not lie
 * in one piece (and all of a test run of cgroup_skb before November 2024) are
 * none of these.
 */
static __always_inline bool
read_plain(struct __sk_buff *skb, const int from, struct plain *q,
	   const bool leaves)
{
	const __u8 *data = (const __u8 *)(long)skb->data;
	const __u8 *end = (const __u8 *)(long)skb->data_end;
	const __u32 at = from ? LINK_BYTES : 0;
	const union plain_head *h = (const union plain_head *)(data + at);
	bool plain;

	if ((const __u8 *)(h + 1) > end)
		return false;
	q->closes = 0;
	q->begins = 0;
	q->seq = 0;
	if (h->v4.ip.version_words >> 4 == 4)
		plain = read_plain4(h, skb->len - at, q, leaves);
	else if (h->v4.ip.version_words >> 4 == 6)
		plain = read_plain6(h, end, skb->len - at, q, leaves);
	else
		return false;
	if (!plain)
		return false;
	if (!leaves)
		q->ports = q->ports << 16 | q->ports >> 16;
	if (!from)
		return true;
	return !skb->vlan_present &&
	       *(const __u16 *)(data + 12) ==
		       host16(q->family == 4 ? TYPE_IP4 : TYPE_IP6);
}

#endif
