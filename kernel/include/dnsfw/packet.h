/* SPDX-License-Identifier: GPL-2.0 */
/* What is judged: a packet as decide() sees it. parse.h reads it. */
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
	DNS_PORT = 53,
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
	__u32 generation;	/* of the tables, read before them */
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
	__u8 pad[7];
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

static __always_inline bool
is_same(const struct dnsfw_addr *a, const struct dnsfw_addr *b)
{
	__u64 x[2], y[2];

	__builtin_memcpy(x, a, sizeof(x));
	__builtin_memcpy(y, b, sizeof(y));
	return x[0] == y[0] && x[1] == y[1];
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

static __always_inline const struct dnsfw_settings *settings(void)
{
	__u32 zero = 0;

	return map_get(dnsfw_settings, &zero);
}

/* Raised by the daemon past each change that may shut what was open; 0 before
 * the first
 */
static __always_inline __u32 generation(void)
{
	const __u32 *now;
	__u32 zero = 0;

	now = map_get(dnsfw_generation, &zero);
	return now ? *(const volatile __u32 *)now : 0;
}

/* 0, which a CPU cannot know before it knows @number: what is looked up by it is
 * read after @number, whatever order the machine prefers
 */
static __always_inline __u32 nothing_of(__u32 number)
{
	asm volatile("%0 &= 0" : "+r"(number));
	return number;
}

#endif
