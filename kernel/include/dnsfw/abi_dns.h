/* SPDX-License-Identifier: GPL-2.0 */
/* The DNS half of what C and Python share (abi.h says how): answers that the
 * kernel gives by itself. Integers that go on the wire are in host order here,
 * names are whole, in wire form and lower case.
 */
#ifndef DNSFW_ABI_DNS_H
#define DNSFW_ABI_DNS_H

#include <linux/types.h>

enum dnsfw_dns_limit {
	DNSFW_MAX_NAME = 255,		/* RFC 1035, 3.1 */
	DNSFW_SHORT_NAME = 64,		/* as far as most names go */
	DNSFW_LONG_NAME = 256,
	DNSFW_QUESTION_WORDS = 33,	/* of eight octets */
	/* an element and its overhead are 512 and 2048 bytes of slab */
	DNSFW_SMALL_DATA = 296,
	DNSFW_BIG_DATA = 1216,
	DNSFW_SMALL_TTLS = 16,
	DNSFW_BIG_TTLS = 76,
	DNSFW_MAX_ANSWERS = 32768,	/* 16 MB when full */
	DNSFW_MAX_ANSWERS_BIG = 2048,	/* 4 MB */
	DNSFW_MAX_ANSWERS_LONG = 2048,	/* 4 MB */
	DNSFW_OPT_BYTES = 11,		/* without options (RFC 6891, 6.1.2) */
	DNSFW_MAX_REPLY = 1232,		/* RFC 9715 */
	DNSFW_MIN_REPLY = 512,		/* what every client takes */
	DNSFW_MAX_STAGES = 8,
};

/* What became of a query that reached the programs that answer */
enum dnsfw_fall {
	DNSFW_ANSWERED = 0,
	DNSFW_REFUSED,		/* by the suffix table */
	/* to userspace, because ... */
	DNSFW_FALL_OFF,		/* answers are switched off */
	DNSFW_FALL_ROLE,	/* nobody known asks, or in another namespace */
	DNSFW_FALL_LOCKDOWN,
	DNSFW_FALL_SHAPE,	/* IP options, fragments, a length that lies */
	DNSFW_FALL_SOURCE,	/* an address that cannot be answered */
	DNSFW_FALL_CHECKSUM,
	DNSFW_FALL_HEADER,	/* other flags, opcodes, counts than a query's */
	DNSFW_FALL_NAME,	/* too long, or not labels */
	DNSFW_FALL_CLASS,	/* not IN */
	DNSFW_FALL_OPT,		/* options, another version, unknown flags */
	DNSFW_FALL_MISS,
	DNSFW_FALL_EXPIRED,
	DNSFW_FALL_EPOCH,	/* of another policy */
	DNSFW_FALL_CHANGED,	/* written anew while it was read */
	DNSFW_FALL_FAILED,	/* no room in the packet */
	DNSFW_FALL_COUNT,
};

/* In the prog array `stages`: what may be a query to us goes to the first three,
 * and from a guest's link back to who judges it where it is not answered
 */
enum dnsfw_stage {
	DNSFW_STAGE_GUEST = 0,		/* dnsfw_answer_in */
	DNSFW_STAGE_GUEST_L3 = 1,	/* dnsfw_answer_in_l3 */
	DNSFW_STAGE_LO = 2,		/* dnsfw_answer_lo */
	DNSFW_STAGE_BACK = 3,		/* dnsfw_guest_in */
	DNSFW_STAGE_BACK_L3 = 4,	/* dnsfw_guest_in_l3 */
	DNSFW_STAGE_BACK_EDGE = 5,	/* dnsfw_edge_in */
	DNSFW_STAGE_BACK_EDGE_L3 = 6,	/* dnsfw_edge_in_l3 */
};

/* In skb->mark, beside dnsfw_mark: a reply of ours on its way back to a guest */
enum dnsfw_dns_mark {
	DNSFW_MARK_ANSWERED = 0x20000000,
};

enum dnsfw_key_flag {
	DNSFW_KEY_DO = 1,
	DNSFW_KEY_CD = 2,
};

/* Who asks what. A template of refusals has role 0, its kind as qtype, and for a
 * name a dnsfw_refusal_key (abi_suffix.h). It belongs to its generation, not to
 * an epoch.
 */
struct dnsfw_question {
	__u32 role;
	__u16 qtype;
	__u8 flags;		/* dnsfw_key_flag */
	__u8 length;
	__u8 name[DNSFW_LONG_NAME];
};
_Static_assert(sizeof(struct dnsfw_question) == 264, "dnsfw_question is ABI");
_Static_assert(264 == 8 * DNSFW_QUESTION_WORDS, "whole");

/* answers, answers_big, answers_long (of names of more than 64 bytes): hash, by
 * the question's own hash: the sum, modulo 2^64, of its words up to the name's
 * end, which zeros fill up. Each word w counts as w ^ w >> 32 times its own
 * factor, a secret of this host. Factors are odd, so 2^63 in two words cancels
 * out: somebody can make two questions that drive each other out. That costs a
 * way to the daemon and no more, for an entry holds the whole question, and is
 * served to no other.
 *
 * An element of a hash is reused for another key under its readers, so a copy
 * counts when its seal is right: the question's hash, and added to it in the
 * same way the words of the head from `until` on, of the TTL offsets that are
 * used and of the data, with the factors seed, seed + 2 step, seed + 4 step, ...
 */
#define DNSFW_SEAL_STEP 0x9e3779b97f4a7c15ULL

struct dnsfw_answer_head {
	__u32 role;		/* dnsfw_question, but for the name */
	__u16 qtype;
	__u8 key_flags;
	__u8 length;
	__u64 seal;
	__u32 hits;		/* counted by the kernel */
	__u32 pad;
	__u64 until;		/* CLOCK_BOOTTIME ns; not served from then on */
	__u64 born;		/* TTLs count down from here */
	__u32 epoch;
	__u16 flags;		/* of the header, for who sent an OPT */
	__u16 bare_flags;	/* for who did not */
	__u16 answers;
	__u16 authority;
	__u16 tail;		/* bytes after the question, without OPT */
	__u16 opt;		/* bytes of the OPT that follow in data, DO clear */
	__u8 ttls;
	__u8 ad;		/* AD for who asks for it (RFC 6840, 5.8) */
	__u8 refusal;
	__u8 pad_end[5];
};
_Static_assert(sizeof(struct dnsfw_answer_head) == 64,
	       "dnsfw_answer_head is ABI");

struct dnsfw_answer {
	struct dnsfw_answer_head head;
	__u8 name[DNSFW_SHORT_NAME];
	__u16 ttl_at[DNSFW_SMALL_TTLS];	/* offsets in data */
	__u8 data[DNSFW_SMALL_DATA];
};
_Static_assert(sizeof(struct dnsfw_answer) == 456, "dnsfw_answer is ABI");

struct dnsfw_answer_big {
	struct dnsfw_answer_head head;
	__u8 name[DNSFW_SHORT_NAME];
	__u16 ttl_at[DNSFW_BIG_TTLS];
	__u8 data[DNSFW_BIG_DATA];
};
_Static_assert(sizeof(struct dnsfw_answer_big) == 1496,
	       "dnsfw_answer_big is ABI");

struct dnsfw_answer_long {
	struct dnsfw_answer_head head;
	__u8 name[DNSFW_LONG_NAME];
	__u16 ttl_at[DNSFW_BIG_TTLS];
	__u8 data[DNSFW_BIG_DATA];
};
_Static_assert(sizeof(struct dnsfw_answer_long) == 1688,
	       "dnsfw_answer_long is ABI");

/* dns: array of one, mapped by the daemon. One store to `epoch` takes every
 * answer away.
 */
struct dnsfw_dns {
	__u32 epoch;
	__u8 answers;		/* the kernel answers */
	__u8 refusals;		/* ... and refuses by suffixes */
	__u8 pad[2];
	__u64 seal_seed;	/* odd */
	__u32 suffix;		/* table of `suffixes` in force, + 1; 0: none */
	__u8 pad_end[4];
	__u64 factors[DNSFW_QUESTION_WORDS];	/* of a question's hash: odd */
};
_Static_assert(sizeof(struct dnsfw_dns) == 288, "dnsfw_dns is ABI");

/* role_answers: per-CPU array by role */
struct dnsfw_role_answers {
	__u64 answered;
	__u64 refused;
	__u64 fell;
};
_Static_assert(sizeof(struct dnsfw_role_answers) == 24,
	       "dnsfw_role_answers is ABI");

#endif
