/* SPDX-License-Identifier: GPL-2.0 */
/* Headers and checksums around a reply on the desk, for who sent the query. */
#ifndef DNSFW_REPLY_H
#define DNSFW_REPLY_H

#include "dns.h"

enum {
	HOPS = 64,		/* a reply's TTL, as Linux sends */
	DONT_FRAGMENT = 0x4000,
};

static __always_inline __u64 add_words(__u64 sum, __u64 word)
{
	return sum + (word & 0xffffffff) + (word >> 32);
}

static __always_inline __u16 fold_sum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Of @bytes from @at on, to be folded. Zeros make a multiple of 32 of them. */
static __always_inline __u64
sum_of(const struct desk *d, __u64 at, __u64 bytes)
{
	__u64 sum = 0, i;

#pragma clang loop unroll(disable)
	for (i = 0; i < (UDP_BYTES + DNSFW_MAX_REPLY + 31) / 32; i++) {
		plain(i);
		if (i * 32 >= bytes)
			break;
		sum = add_words(sum, at64(d->frame + at + i * 32));
		sum = add_words(sum, at64(d->frame + at + i * 32 + 8));
		sum = add_words(sum, at64(d->frame + at + i * 32 + 16));
		sum = add_words(sum, at64(d->frame + at + i * 32 + 24));
	}
	return sum;
}

static __always_inline void pad_zeros(struct desk *d, __u64 at)
{
	at64(d->frame + at) = 0;
	at64(d->frame + at + 8) = 0;
	at64(d->frame + at + 16) = 0;
	at64(d->frame + at + 24) = 0;
}

/* The pseudo header of RFC 768 and RFC 8200, 8.1. IPv4's mapped form adds an
 * ffff, which is nothing in this arithmetic.
 */
static __always_inline __u64
pseudo_sum(const struct query *q, __u32 bytes)
{
	const word64 *a = (const word64 *)&q->src, *b = (const word64 *)&q->dst;
	__u64 sum = host16(PROTO_UDP) + (__u64)host16(bytes);

	sum = add_words(add_words(sum, a[0]), a[1]);
	return add_words(add_words(sum, b[0]), b[1]);
}

static __always_inline void write_ip4(struct ip4_header *h, __u32 bytes)
{
	__u32 src = h->src;
	const word64 *words = (const word64 *)h;

	h->version_words = 0x45;
	h->tos = 0;
	h->bytes = host16(bytes);
	h->id = 0;	/* never fragmented: RFC 6864, 4.1 */
	h->frag = host16(DONT_FRAGMENT);
	h->ttl = HOPS;
	h->proto = PROTO_UDP;
	h->check = 0;
	h->src = h->dst;
	h->dst = src;
	keep(h);
	h->check = ~fold_sum(add_words(add_words(h->dst, words[0]), words[1]));
}

static __always_inline void
write_ip6(struct ip6_header *h, const struct query *q, __u32 bytes)
{
	h->version_flow = host32(6 << 28);
	h->payload = host16(bytes);
	h->next = PROTO_UDP;
	h->hops = HOPS;
	h->src = q->dst;
	h->dst = q->src;
}

/* Who asked is the one who is told */
static __always_inline void swap_ether(struct desk *d)
{
	__u32 far = at32(d->frame), near = at32(d->frame + 6);
	__u16 end = at16(d->frame + 4);

	at32(d->frame) = near;
	at16(d->frame + 4) = at16(d->frame + 10);
	at32(d->frame + 6) = far;
	at16(d->frame + 10) = end;
}

/* Headers around a message of @bytes; returns those of the frame */
static __always_inline __u32
finish_frame(struct desk *d, const struct query *q, __u64 bytes)
{
	__u64 at = within(q->dns - UDP_BYTES, HEAD_MASK);
	__u64 dns = at + UDP_BYTES, udp = bytes + UDP_BYTES;
	__u64 ip = within(q->ip, IP_MASK);
	struct udp_header *h = (struct udp_header *)(d->frame + at);
	__u64 sum = pseudo_sum(q, udp);
	__u16 check;

	if (ip)
		swap_ether(d);
	keep(d);
	if (q->family == 4)
		write_ip4((struct ip4_header *)(d->frame + ip),
			  udp + IP4_BYTES);
	else
		write_ip6((struct ip6_header *)(d->frame + ip), q, udp);
	keep(d);
	h->sport = host16(q->dport);
	h->dport = host16(q->sport);
	h->bytes = host16(udp);
	h->check = 0;
	pad_zeros(d, dns + bytes);
	if (q->partial) {
		h->check = fold_sum(sum);
		return dns + bytes;
	}
	check = ~fold_sum(sum + sum_of(d, at, udp));
	h->check = check ? check : 0xffff;
	return dns + bytes;
}

#endif
