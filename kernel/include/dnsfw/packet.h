/* SPDX-License-Identifier: GPL-2.0 */
/* What is judged, and how a packet becomes it. Nothing is believed that the
 * bytes do not show: not skb->protocol (an AF_PACKET sender sets it freely),
 * not a length, not the order of headers. Bytes are read by
 * bpf_skb_load_bytes, never in place: data may be paged, and direct access in
 * cgroup_skb test runs was broken until November 2024.
 *
 * Every parse_ function returns DNSFW_BY_NOTHING, or the reason why the
 * packet is malformed.
 */
#ifndef DNSFW_PACKET_H
#define DNSFW_PACKET_H

#include "maps.h"

enum {
	MAX_TAGS = 2,		/* 802.1Q in 802.1ad; deeper is no one's need */
	MAX_EXTENSIONS = 6,	/* IPv6 headers looked through (RFC 8200, 4.1) */
	MAX_OPTIONS = 40,	/* bytes of IPv4 options */
	MAX_ARP_BYTES = 64,	/* 28, and what a driver pads a frame with */
	MAX_IP_BYTES = 65535,	/* past it a length field reads 0 (BIG TCP) */
	LOOPBACK_IFINDEX = 1,	/* of lo, in every network namespace */
};

enum {
	TYPE_IP4 = 0x0800,
	TYPE_ARP = 0x0806,
	TYPE_VLAN = 0x8100,
	TYPE_IP6 = 0x86dd,
	TYPE_SLOW = 0x8809,	/* LACP */
	TYPE_EAPOL = 0x888e,
	TYPE_QINQ = 0x88a8,
};

enum {
	PROTO_HOP_OPTIONS = 0,
	PROTO_ICMP = 1,		/* here of both families */
	PROTO_IGMP = 2,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_DCCP = 33,
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_ICMP6 = 58,
	PROTO_DEST_OPTIONS = 60,
	PROTO_SCTP = 132,
	PROTO_UDPLITE = 136,
	PROTO_RESERVED = 255,	/* what no rule can name */
	PROTO_MPTCP = 262,	/* in socket(2) only; TCP on the wire */
};

enum {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

enum {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST,
	FRAGMENT_LATER,
};

/* Whose is the socket that a packet over lo will reach */
enum {
	RECEIVER_UNKNOWN = 0,	/* nobody asked, or nobody there */
	RECEIVER_OWN,		/* of the sender's role, or dnsfw's */
	RECEIVER_GONE,		/* nobody, and nothing could begin there */
};

/* What decide() sees. The connect and sendmsg hooks fill what they know. */
struct packet {
	__u64 now;
	struct dnsfw_addr src;
	struct dnsfw_addr dst;
	__u64 netns;		/* key of the tables; 0 where the kernel has none */
	__u32 seq;
	__u32 frag_id;
	__u32 ifindex;		/* where it leaves; 0: not known yet */
	__u32 bytes;		/* from the IP header on */
	__u16 link;		/* ethertype, if upkeep of a link */
	__u16 sport;
	__u16 dport;		/* 0 where the protocol has none */
	__u8 family;		/* 4, 6; 0: not IP */
	__u8 proto;
	__u8 flags;		/* TCP */
	__u8 icmp;		/* its type */
	__u8 ttl;
	__u8 frag;
	__u8 frag_proto;	/* as the fragments themselves say it */
	__u8 payload;		/* TCP carries data */
	__u8 forwarded;
	__u8 malformed;		/* dnsfw_reason */
	__u8 receiver;		/* over lo, for a role that may reach its own */
	__u8 asks;		/* a guest's query to us */
	__u8 pad[2];
};
_Static_assert(sizeof(struct packet) % 8 == 0, "forget() goes by words");

/* The verifier follows each set of values that a path through the parser can
 * end with, and multiplies these paths by those of decide(): millions. A global
 * function is walked once, by itself, with arguments that it knows nothing of;
 * its caller knows nothing of what it wrote (Linux 5.12 for pointers to
 * memory). It checks its pointers, for anybody might call it.
 *
 * BCC has no such functions. There everything is inline, and words that are
 * turned over with a number that the verifier does not know are forgotten; the
 * compiler sees through neither step.
 */
#ifndef DNSFW_BCC
#define STAGE __attribute__((noinline))
#else
#define STAGE static __always_inline
#endif

#define keep(p) asm volatile("" : : "r"(p) : "memory")

static __always_inline void
forget(__u64 *words, const __u32 bytes, __u64 unknown)
{
#ifdef DNSFW_BCC
	__u64 word;
	__u32 i;

	keep(words);
#pragma unroll
	for (i = 0; i < bytes / 8; i++) {
		word = words[i] ^ unknown;
		asm volatile("" : "+r"(word));
		words[i] = word ^ unknown;
	}
	keep(words);
#endif
}

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

/* The same for one number */
static __always_inline __u32 forget_one(__u32 value, __u64 unknown)
{
	value ^= (__u32)unknown;
	asm volatile("" : "+r"(value));
	return value ^ (__u32)unknown;
}

static __always_inline __u16 host16(__u16 net)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap16(net);
#else
	return net;
#endif
}

static __always_inline __u32 host32(__u32 net)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap32(net);
#else
	return net;
#endif
}

/* ::ffff:a.b.c.d; @net is a.b.c.d as it lies in memory */
static __always_inline void map_ip4(struct dnsfw_addr *addr, __u32 net)
{
	__builtin_memset(addr, 0, 10);
	addr->b[10] = 0xff;
	addr->b[11] = 0xff;
	__builtin_memcpy(&addr->b[12], &net, 4);
}

static __always_inline bool is_mapped(const struct dnsfw_addr *addr)
{
	__u64 high;
	__u32 middle;

	__builtin_memcpy(&high, addr->b, 8);
	__builtin_memcpy(&middle, &addr->b[8], 4);
	return !high && middle == host32(0xffff);
}

/* 127.0.0.0/8 and ::1 */
static __always_inline bool is_loopback(const struct dnsfw_addr *addr)
{
	__u64 high, low;

	if (is_mapped(addr))
		return addr->b[12] == 127;
	__builtin_memcpy(&high, addr->b, 8);
	__builtin_memcpy(&low, &addr->b[8], 8);
	return !high && low == ((__u64)host32(1) << 32);
}

static __always_inline bool is_unspecified(const struct dnsfw_addr *addr)
{
	__u64 high;
	__u32 middle, low;

	__builtin_memcpy(&high, addr->b, 8);
	__builtin_memcpy(&middle, &addr->b[8], 4);
	__builtin_memcpy(&low, &addr->b[12], 4);
	return !high && !low && (!middle || middle == host32(0xffff));
}

static __always_inline bool is_syn(const struct packet *p)
{
	return p->proto == PROTO_TCP && (p->flags & TCP_SYN) &&
	       !(p->flags & TCP_ACK);
}

static __always_inline bool has_flow(const struct packet *p)
{
	return p->proto == PROTO_TCP || p->proto == PROTO_UDP;
}

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

/* From the IP header on: cgroup hooks, and devices without a link header */
static __always_inline enum dnsfw_reason
parse_packet(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	__u8 version;

	if (bpf_skb_load_bytes(skb, at, &version, 1) < 0)
		return DNSFW_SHORT;
	if (version >> 4 == 4)
		return parse_ip4(skb, at, p);
	if (version >> 4 == 6)
		return parse_ip6(skb, at, p);
	return DNSFW_BAD_IP;
}

/* LACP goes to a group address that no bridge forwards (802.1Q, 8.6.3) */
static __always_inline bool stays_on_link(struct __sk_buff *skb)
{
	__u8 mac[6];

	if (bpf_skb_load_bytes(skb, 0, mac, sizeof(mac)) < 0)
		return false;
	return mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && !mac[3] &&
	       !mac[4] && mac[5] < 0x10;
}

/* From the Ethernet header on */
static __always_inline enum dnsfw_reason
parse_frame(struct __sk_buff *skb, struct packet *p)
{
	/* the driver's or the stack's own tag is beside the frame, not in it */
	__u32 tags = skb->vlan_present ? 1 : 0;
	struct tag_header tag;
	__u32 at = 14;
	__u16 type;
	int i;

	if (bpf_skb_load_bytes(skb, 12, &type, sizeof(type)) < 0)
		return DNSFW_SHORT;
	type = host16(type);
	for (i = 0; i <= MAX_TAGS; i++) {
		if (type != TYPE_VLAN && type != TYPE_QINQ)
			break;
		if (++tags > MAX_TAGS)
			return DNSFW_VLAN_DEEP;
		if (bpf_skb_load_bytes(skb, at, &tag, sizeof(tag)) < 0)
			return DNSFW_SHORT;
		type = host16(tag.type);
		at += sizeof(tag);
	}
	if (type == TYPE_IP4)
		return parse_ip4(skb, at, p);
	if (type == TYPE_IP6)
		return parse_ip6(skb, at, p);
	if (type == TYPE_ARP ? skb->len > at + MAX_ARP_BYTES :
	    type == TYPE_SLOW ? !stays_on_link(skb) :
				type != TYPE_EAPOL)
		return DNSFW_ETHERTYPE;
	p->link = type;
	return DNSFW_BY_NOTHING;
}

static __always_inline const struct dnsfw_settings *settings(void)
{
	__u32 zero = 0;

	return map_get(dnsfw_settings, &zero);
}

/* The namespace that keys a packet: its socket's, where a local socket sent
 * it. A device's frames that come in or pass through are keyed as the host's:
 * without a socket the helper would say init_net's, and over a veth or a
 * bridge the socket is still the one that sent it in another namespace. 0 for
 * all where the helper is missing.
 */
static __always_inline __u64 netns_of(struct __sk_buff *skb, bool local)
{
	const struct dnsfw_settings *s;

	if (!HAS_NETNS_COOKIE)
		return 0;
	if (local && skb->sk)
		return bpf_get_netns_cookie(skb);
	s = settings();
	return s ? s->netns : 0;
}

enum {
	FROM_IP = 0,		/* data starts at the IP header */
	FROM_ETHER = 1,
};

STAGE int dnsfw_parse_frame(struct __sk_buff *skb, struct packet *p)
{
	if (p)
		p->malformed = parse_frame(skb, p);
	return 0;
}

STAGE int dnsfw_parse_packet(struct __sk_buff *skb, struct packet *p)
{
	if (p)
		p->malformed = parse_packet(skb, 0, p);
	return 0;
}

/* All of @p that the packet itself says. @from is a constant of the caller;
 * @local: a socket of ours sends or takes it.
 */
static __always_inline void
read_packet(struct __sk_buff *skb, struct packet *p, const int from, bool local)
{
	__u64 now = bpf_ktime_get_boot_ns();

	p->now = now;
	p->netns = netns_of(skb, local);
	p->ifindex = skb->ifindex;
	if (from == FROM_ETHER)
		dnsfw_parse_frame(skb, p);
	else
		dnsfw_parse_packet(skb, p);
	forget((__u64 *)p, sizeof(*p), now);
}

#endif
