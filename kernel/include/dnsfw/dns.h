/* SPDX-License-Identifier: GPL-2.0 */
/* A query that the kernel may answer: the plain one that everybody sends. It is
 * read from a copy of its frame, on this CPU's desk, and its reply is written
 * in its place. Whatever is unusual is Python's.
 *
 * The desk is one for each CPU, which is safe because TC and XDP run with
 * bottom halves off: no program of this kind interrupts another.
 */
#ifndef DNSFW_DNS_H
#define DNSFW_DNS_H

#include "report.h"

enum {
	ETHER_BYTES = 14,
	IP4_BYTES = 20,
	IP6_BYTES = 40,
	UDP_BYTES = 8,
	DNS_BYTES = 12,
	PAIR_BYTES = 4,		/* type and class */
	MOST_HEAD = ETHER_BYTES + IP6_BYTES + UDP_BYTES,
	LEAST_QUERY = DNS_BYTES + 1 + PAIR_BYTES,
	MOST_QUERY = DNS_BYTES + DNSFW_MAX_NAME + PAIR_BYTES + DNSFW_OPT_BYTES,
	LEAST_FRAME = IP4_BYTES + UDP_BYTES + LEAST_QUERY,
	MOST_FRAME = MOST_HEAD + MOST_QUERY,
	MOST_QUESTION_END = MOST_HEAD + MOST_QUERY - DNSFW_OPT_BYTES,
	IP_MASK = 15,
	HEAD_MASK = 63,
	QUERY_MASK = 511,
	QUESTION_END_MASK = 511,
	REPLY_MASK = 2047,
	DESK_BYTES = 3072,
};

#define A_TICK 10000000ULL	/* the longest there is: HZ=100 */

enum {
	DNS_AD = 0x0020,
	DNS_CD = 0x0010,
	DNS_RD = 0x0100,
	DNS_TC = 0x0200,
	CLASS_IN = 1,
	OPT_DO = 0x80,		/* in the octet that it stands in */
};

/* What is known of the query. It lies on the desk, of which the verifier knows
 * nothing: paths that differ in it meet again.
 */
struct query {
	__u64 netns;
	struct dnsfw_addr src;
	struct dnsfw_addr dst;
	__u64 hash;		/* of the question */
	__u32 role;
	__u16 dns;		/* where in the frame the message begins */
	__u16 end;		/* of the question */
	__u16 bytes;		/* of the message */
	__u16 qtype;
	__u16 sport;
	__u16 dport;
	__u16 check;
	__u16 flags;
	__u16 limit;
	__u16 length;		/* of the reply's frame */
	__u8 name;		/* bytes of it */
	__u8 family;
	__u8 opt;
	__u8 dnssec;		/* DO */
	__u8 partial;		/* its checksum is of the pseudo header alone */
	__u8 ip;		/* where in the frame its header begins */
	__u8 pad[6];
};

/* What a table said of an address, in a tick of the kernel's clock: it is asked
 * once a tick (10 ms at most) and not for every query of a flood. Of what a
 * policy says nothing is remembered so.
 */
struct remembered {
	__u64 tick;
	__u64 netns;
	struct dnsfw_addr addr;
};

enum {
	REMEMBERED = 64,	/* a power of two */
};

struct desk {
	__u8 frame[DESK_BYTES];
	struct query query;
	struct remembered listeners[REMEMBERED];
	struct remembered strangers[REMEMBERED];
	__u64 tick;		/* of the kernel's, in which the clock was read */
	__u64 clock;
	struct dnsfw_question key;	/* past its name may lie anything */
	struct dnsfw_answer_head head;
	__u16 ttl_at[DNSFW_BIG_TTLS];
};
/* what a loop writes past an end must stay on the desk, too */
_Static_assert(HEAD_MASK >= MOST_HEAD && QUERY_MASK >= MOST_QUERY, "masks");
_Static_assert(QUESTION_END_MASK >= MOST_QUESTION_END, "a mask");
_Static_assert(REPLY_MASK >= DNSFW_MAX_REPLY, "a mask");
_Static_assert(DESK_BYTES >= QUESTION_END_MASK + REPLY_MASK + 264,
	       "records, and an OPT that is moved");
_Static_assert(DESK_BYTES >= HEAD_MASK + REPLY_MASK + 40, "a reply, and zeros");

MAP_PERCPU(dnsfw_desks, struct desk, 1);

static __always_inline struct desk *desk_of_cpu(void)
{
	__u32 zero = 0;

	return map_get(dnsfw_desks, &zero);
}

/* CLOCK_BOOTTIME, up to A_TICK ago: it is read once a tick of the kernel's, for
 * that costs as much as finding an answer. Where the difference counts it is
 * read again. (In the first tick after a suspend it is as old as that; grants
 * have their own clock.)
 */
static __always_inline __u64 about_now(struct desk *d)
{
	__u64 tick = bpf_jiffies64();

	if (d->tick != tick) {
		d->clock = bpf_ktime_get_boot_ns();
		d->tick = tick;
	}
	return d->clock;
}

/* Where an address is remembered, if it is */
static __always_inline __u32 slot_for(const struct dnsfw_addr *addr)
{
	__u64 word[2];

	__builtin_memcpy(word, addr, sizeof(word));
	return (word[0] ^ word[1]) * 0x9e3779b97f4a7c15ULL >> 58;
}
_Static_assert(REMEMBERED == 1 << (64 - 58), "slot_for()");

static __always_inline bool
is_remembered(const struct remembered *here, __u64 tick, __u64 netns,
	      const struct dnsfw_addr *addr)
{
	return here->tick == tick && here->netns == netns &&
	       is_same(&here->addr, addr);
}

static __always_inline void
remember(struct remembered *here, __u64 tick, __u64 netns,
	 const struct dnsfw_addr *addr)
{
	here->tick = tick;
	here->netns = netns;
	here->addr = *addr;
}

static __always_inline bool has_ended(__u64 until, __u64 now)
{
	if (now + A_TICK < until)
		return false;
	return now >= until || bpf_ktime_get_boot_ns() >= until;
}

/* In seconds, rounded up: a client must not keep it past its end */
static __always_inline __u64 age_of(__u64 born, __u64 now)
{
	__u64 most, age;

	if (now + A_TICK <= born)
		return 0;
	most = now + A_TICK - born;
	age = (most + SECOND - 1) / SECOND;
	if (most > (age - 1) * SECOND + A_TICK)
		return age;
	now = bpf_ktime_get_boot_ns();
	return now <= born ? 0 : (now - born + SECOND - 1) / SECOND;
}

static __always_inline const struct dnsfw_dns *dns_settings(void)
{
	__u32 zero = 0;

	return map_get(dnsfw_dns, &zero);
}

/* The frame as numbers: beside bytes, structs and each other */
typedef __u64 __attribute__((__may_alias__)) word64;
typedef __u32 __attribute__((__may_alias__)) word32;
typedef __u16 __attribute__((__may_alias__)) word16;
#define at64(p) (*(word64 *)(p))
#define at32(p) (*(word32 *)(p))
#define at16(p) (*(word16 *)(p))

/* A loop's number as it stands: no pointer that moves in its place, of which the
 * verifier would not know where it ends.
 */
#define plain(i) asm volatile("" : "+r"(i))

/* A bound that the verifier sees and the compiler does not. @mask is all ones,
 * and no less than the value.
 */
static __always_inline __u64 within(__u64 value, const __u64 mask)
{
	asm volatile("" : "+r"(value));
	return value & mask;
}

/* The same for both ends. The compiler must not make one comparison of the two,
 * from which the verifier learns nothing.
 */
static __always_inline bool
is_between(__u64 *value, const __u64 least, const __u64 most)
{
	__u64 seen = *value;

	asm volatile("" : "+r"(seen));
	if (seen < least)
		return false;
	asm volatile("" : "+r"(seen));
	if (seen > most)
		return false;
	asm volatile("" : "+r"(seen));
	*value = seen;
	return true;
}

/* IPv4 without options, not a fragment, all there */
static __always_inline bool
read_ip4(const struct desk *d, __u32 length, const __u32 at, struct query *q)
{
	const struct ip4_header *h = (const struct ip4_header *)(d->frame + at);
	__u32 bytes = host16(h->bytes);

	if (h->version_words != 0x45 || h->proto != PROTO_UDP ||
	    (h->frag & host16(0xbfff)) || bytes > length - at)
		return false;
	map_ip4(&q->src, h->src);
	map_ip4(&q->dst, h->dst);
	q->family = 4;
	q->bytes = bytes - IP4_BYTES;
	return bytes >= IP4_BYTES + UDP_BYTES + LEAST_QUERY;
}

static __always_inline bool
read_ip6(const struct desk *d, __u32 length, const __u32 at, struct query *q)
{
	const struct ip6_header *h = (const struct ip6_header *)(d->frame + at);
	__u32 bytes = host16(h->payload);

	if (host32(h->version_flow) >> 28 != 6 || h->next != PROTO_UDP ||
	    bytes > length - at - IP6_BYTES || length < at + IP6_BYTES)
		return false;
	q->src = h->src;
	q->dst = h->dst;
	q->family = 6;
	q->bytes = bytes;
	return bytes >= UDP_BYTES + LEAST_QUERY && !is_mapped(&q->src) &&
	       !is_mapped(&q->dst);
}

struct udp_header {
	__u16 sport;
	__u16 dport;
	__u16 bytes;
	__u16 check;
};

/* Leaves q->bytes as those of the message */
static __always_inline bool
read_udp(const struct desk *d, const __u32 at, struct query *q)
{
	const struct udp_header *h = (const struct udp_header *)(d->frame + at);

	q->sport = host16(h->sport);
	q->dport = host16(h->dport);
	q->check = h->check;
	q->dns = at + UDP_BYTES;
	if (host16(h->bytes) != q->bytes)
		return false;
	q->bytes -= UDP_BYTES;
	return q->bytes <= MOST_QUERY && q->sport;
}

/* Of the IP header at @ip, without extensions */
static __always_inline __u8 proto_of(const struct desk *d, const __u32 ip)
{
	return d->frame[ip] >> 4 == 4 ? d->frame[ip + 9] : d->frame[ip + 6];
}

/* A datagram of @length bytes on the desk; @ip is where its IP header begins, a
 * constant of the caller. False where it is none that we read.
 */
static __always_inline bool
read_datagram(const struct desk *d, __u32 length, const __u32 ip,
	      struct query *q)
{
	q->partial = 0;
	q->ip = ip;
	if (d->frame[ip] >> 4 == 4)
		return (!ip || at16(d->frame + 12) ==
				       host16(TYPE_IP4)) &&
		       read_ip4(d, length, ip, q) &&
		       read_udp(d, ip + IP4_BYTES, q);
	return (!ip ||
		at16(d->frame + 12) == host16(TYPE_IP6)) &&
	       read_ip6(d, length, ip, q) && read_udp(d, ip + IP6_BYTES, q);
}

/* ASCII capitals of eight octets become small. Octets that say how long a label
 * is are below 'A', so a whole name folds blindly.
 */
static __always_inline __u64 fold(__u64 word)
{
	const __u64 ones = 0x0101010101010101ULL;
	__u64 low = word & (0x7f * ones);
	__u64 from_a = low + (0x80 - 'A') * ones;
	__u64 past_z = low + (0x7f - 'Z') * ones;

	return word | ((~word & (from_a ^ past_z) & (0x80 * ones)) >> 2);
}

/* abi_dns.h says how a question is hashed, and an entry sealed */
static __always_inline __u64 mix(__u64 word)
{
	return word ^ word >> 32;
}

/* The name, folded, into the key, whose hash it completes */
static __always_inline void
fold_name(struct desk *d, struct query *q, const struct dnsfw_dns *dns,
	  __u64 name_at, __u64 pair_at)
{
	__u64 sum = mix(at64(&d->key)) * dns->factors[0], bytes = q->name;
	word64 *key = (word64 *)d->key.name;
	__u64 word, i;
	__u32 pair;

	/* what follows the name makes place for zeros while it is copied */
	pair = at32(d->frame + pair_at);
	at64(d->frame + pair_at) = 0;
#pragma clang loop unroll(disable)
	for (i = 0; i < DNSFW_LONG_NAME / 8; i++) {
		plain(i);
		if (i * 8 >= bytes)
			break;
		word = fold(at64(d->frame + name_at + i * 8));
		key[i] = word;
		sum += mix(word) * dns->factors[i + 1];
	}
	at32(d->frame + pair_at) = pair;
	q->hash = sum;
	keep(d);
}

/* An OPT of version 0 without options, as wire/query.py's peek takes it */
static __always_inline bool
read_opt(const struct desk *d, struct query *q, __u64 at)
{
	const __u8 *opt = d->frame + at;
	__u16 size;

	if (opt[0] || at16(opt + 1) != host16(41) ||
	    at16(opt + 5) || (opt[7] & 0x7f) || opt[8] ||
	    at16(opt + 9))
		return false;
	size = host16(at16(opt + 3));
	q->opt = 1;
	q->dnssec = opt[7] >> 7;
	q->limit = size < DNSFW_MIN_REPLY ? DNSFW_MIN_REPLY :
		   size > DNSFW_MAX_REPLY ? DNSFW_MAX_REPLY :
					    size;
	return true;
}

/* What the message asks, into @q and the desk's key. The name's length follows
 * from the message's: that it is made of labels shows when it equals one that
 * is.
 */
static __always_inline enum dnsfw_fall
read_query(struct desk *d, struct query *q, const struct dnsfw_dns *settings)
{
	const __u8 *head;
	__u64 dns, name, pair_at, name_at;
	__u16 additional;

	keep(d);
	dns = within(q->dns, HEAD_MASK);
	head = d->frame + dns;
	q->flags = host16(at16(head + 2));
	additional = at16(head + 10);
	if ((q->flags & ~(DNS_AD | DNS_CD)) != DNS_RD ||
	    at16(head + 4) != host16(1) ||
	    at32(head + 6) || (additional & ~host16(1)))
		return DNSFW_FALL_HEADER;
	name = q->bytes - DNS_BYTES - PAIR_BYTES;
	if (additional)
		name -= DNSFW_OPT_BYTES;
	if (name - 1 > DNSFW_MAX_NAME - 1)
		return DNSFW_FALL_NAME;
	name = within(name, DNSFW_MAX_NAME);
	name_at = dns + DNS_BYTES;
	pair_at = name_at + name;
	q->end = pair_at + PAIR_BYTES;
	q->limit = DNSFW_MIN_REPLY;
	q->opt = 0;
	q->dnssec = 0;
	/* first: with options in it the name's length is wrong, too */
	if (additional && !read_opt(d, q, pair_at + PAIR_BYTES))
		return DNSFW_FALL_OPT;
	if (at16(d->frame + pair_at + 2) != host16(CLASS_IN))
		return DNSFW_FALL_CLASS;
	q->qtype = host16(at16(d->frame + pair_at));
	q->name = name;
	d->key.role = q->role;
	d->key.qtype = q->qtype;
	keep(d);
	d->key.flags = (q->dnssec ? DNSFW_KEY_DO : 0) |
		       (q->flags & DNS_CD ? DNSFW_KEY_CD : 0);
	d->key.length = name;
	keep(d);
	fold_name(d, q, settings, name_at, pair_at);
	return DNSFW_ANSWERED;
}

#endif
