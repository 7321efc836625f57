/* SPDX-License-Identifier: GPL-2.0 */
/* Refusals of names that were never asked before: what C and Python share of
 * them. Under the same rules as abi.h.
 *
 * One table holds every suffix that some rule or list of some role speaks for,
 * as a fingerprint and a class: which rules and lists these are. What a class
 * means is written for each role. So two roles share a list of a million names,
 * and a suffix costs one look-up, however many roles and lists there are.
 *
 * Each table is a map of its own, in units of 64 bytes: a head, the buckets,
 * the roles, the meanings. It is never written while a program can see it.
 */
#ifndef DNSFW_ABI_SUFFIX_H
#define DNSFW_ABI_SUFFIX_H

#include <linux/types.h>

enum dnsfw_suffix {
	DNSFW_SUFFIX_TABLES = 2,	/* the one in force, and the next */
	DNSFW_SUFFIX_SLOTS = 8,		/* fingerprints in a bucket */
	DNSFW_SUFFIX_LABELS = 32,	/* of a name; deeper ones fall through */
	DNSFW_SUFFIX_CLASS_BITS = 12,	/* of a slot, below the fingerprint */
	DNSFW_SUFFIX_ROLE_UNITS = 4,	/* a byte a role */
	DNSFW_SUFFIX_HOME = 2,		/* labels: example.com */
	DNSFW_SUFFIX_VERSION = 3,
	DNSFW_SUFFIX_TEMPLATES = 4096,	/* refusals that differ; more fall through */
	DNSFW_SUFFIX_RING_BYTES = 65536,
	DNSFW_SUFFIX_TEXT = 262144,	/* of names, for one call of the builder */
	DNSFW_SUFFIX_SPILLS = 1024,
};

/* What an outcome may be; from FIRST on the number of a template */
enum dnsfw_outcome {
	DNSFW_OUTCOME_NONE = 0,		/* nothing is said of this depth */
	DNSFW_OUTCOME_PASS = 1,		/* Python decides */
	DNSFW_OUTCOME_DEFAULT = 2,	/* refused, because no rule allows it */
	DNSFW_OUTCOME_ODD = 3,		/* ... nor such octets in a name */
	DNSFW_OUTCOME_FIRST = 4,
};

/* Which of a template's rows: `refuse: zero` tells A and AAAA apart */
enum dnsfw_refusal_kind {
	DNSFW_REFUSAL_KIND_ANY = 0,
	DNSFW_REFUSAL_KIND_A = 1,
	DNSFW_REFUSAL_KIND_AAAA = 2,
};

enum dnsfw_stop {
	DNSFW_STOP_AT = 1,	/* Python decides, whatever lies deeper */
	DNSFW_STOP_BELOW = 2,
};

/* A slot is fingerprint | class; an empty one is 0, and no class is 0. Slots
 * fill up in order. Of the last two the last is the greater one where somebody
 * found no room here and lies in his second bucket.
 */
struct dnsfw_bucket {
	__u64 slots[DNSFW_SUFFIX_SLOTS];
};
_Static_assert(sizeof(struct dnsfw_bucket) == 64, "one cache line");

/* Unit 0. Buckets follow it; other places are unit numbers. */
struct dnsfw_suffix_head {
	__u64 key0;		/* of the hash: SipHash-1-3 */
	__u64 key1;
	__u32 version;
	__u32 generation;	/* half of the key of a refusal's row */
	__u32 buckets;
	__u32 roles;		/* unit: a byte a role, its column + 1 */
	__u32 meanings;		/* unit of the first row of meanings */
	__u32 columns;		/* roles in a row */
	__u32 classes;		/* rows; row 0 is of what no entry speaks for */
	__u32 zero;		/* `refuse: zero`: the kind counts */
	__u32 entries;		/* for people */
	/* A suffix of more labels lies where that of its last so many does: so
	 * one line of memory says all there is to say of most names.
	 */
	__u32 home;
	__u32 pad[2];
};
_Static_assert(sizeof(struct dnsfw_suffix_head) == 64, "one unit");

/* What a class means to a role: outcomes for the suffix itself, for names one
 * label below it, and for deeper ones. The deepest suffix that says anything
 * of a name decides.
 */
struct dnsfw_meaning {
	__u16 at;
	__u16 one;
	__u16 deep;
	__u16 stop;		/* dnsfw_stop */
};
_Static_assert(sizeof(struct dnsfw_meaning) == 8, "dnsfw_meaning is ABI");

/* What stands in for the name in the key of a template, a row of `answers`.
 * Templates of another generation are left over, and nobody's.
 */
struct dnsfw_refusal_key {
	__u32 generation;
	__u32 outcome;
};
_Static_assert(sizeof(struct dnsfw_refusal_key) == 8,
	       "dnsfw_refusal_key is ABI");

/* asked: ring buffer; names that the kernel refused, a few a second */
struct dnsfw_asked_event {
	__u64 at;		/* CLOCK_BOOTTIME ns */
	__u64 netns;
	__u32 role;
	__u32 generation;	/* of the table that said so */
	__u32 outcome;		/* its template: which rule, and why */
	__u32 pid;		/* 0: not known */
	__u8 addr[16];		/* who asked */
	__u16 port;
	__u16 qtype;
	__u8 length;		/* of the name */
	__u8 pad[3];
	char comm[16];
	__u8 name[256];		/* lower-case wire form */
};
_Static_assert(sizeof(struct dnsfw_asked_event) == 328,
	       "dnsfw_asked_event is ABI");

#endif
