/* SPDX-License-Identifier: GPL-2.0 */
/* Is a name refused, that nobody asked for before? A walk over its suffixes,
 * from the right, in a table of fingerprints (abi_suffix.h).
 *
 * The deepest suffix that says something of the name decides. Whatever the
 * fingerprints cannot say is Python's: they refuse, and never allow. Two
 * suffixes that look alike are the one way to refuse wrongly: 52 bits are
 * compared, in two buckets of eight. At 32 labels and no empty slot that is
 * 32 * 16 / 2^52 < 1.2e-13 a name; of a usual one below 2e-14.
 */
#ifndef DNSFW_SUFFIX_H
#define DNSFW_SUFFIX_H

#include "abi_dns.h"
#include "abi_suffix.h"
#include "maps.h"
#include "octets.h"
#include "siphash.h"

#define SUFFIX_CLASS ((1ULL << DNSFW_SUFFIX_CLASS_BITS) - 1)

/* The hash goes on over one label, length octet and all, in words of eight
 * octets. What is odd in it is added to @odd.
 */
static __always_inline void
hash_label(struct siphash *h, const __u8 *name, const __u32 room, __u32 at,
	   __u64 *odd)
{
	__u32 left = name[at & (room - 1)] + 1;
	__u64 skip = 0xff;	/* the length is no octet of the label */
	__u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < 8; i++) {
		__u64 word = octets_at(name, room, at + i * 8);
		__u64 used = left >= 8 ? ~0ULL : (1ULL << (left * 8)) - 1;

		word &= used;
		siphash_word(h, word);
		*odd |= odd_octets(word) & used & ~skip;
		skip = 0;
		if (left <= 8)
			break;
		left -= 8;
	}
}

static __always_inline struct dnsfw_bucket *
suffix_unit(void *table, __u32 unit)
{
	struct dnsfw_bucket *found;

	found = inner_get(table, &unit);
	return found;
}

/* The slot's class where the fingerprint is among the eight */
static __always_inline __u64
slot_of(const struct dnsfw_bucket *bucket, __u64 print)
{
	__u64 found = 0;
	__u32 i;

#pragma clang loop unroll(full)
	for (i = 0; i < DNSFW_SUFFIX_SLOTS; i++) {
		__u64 slot = bucket->slots[i];
		__u64 differs = (slot ^ print) >> DNSFW_SUFFIX_CLASS_BITS;

		found |= slot & -((differs - 1) >> 63);
	}
	return found;
}

/* 0: no rule and no list has this suffix */
static __always_inline __u32
class_of(void *table, const struct siphash *h, __u32 buckets)
{
	struct dnsfw_bucket *bucket;
	__u64 print, place, found = 0;
	__u32 first, step, second;

	siphash_end(h, &print, &place);
	first = (place & 0xffffffff) * buckets >> 32;
	step = (print >> 32) * buckets >> 32;
	second = step >= first ? step - first : step + buckets - first;
	bucket = suffix_unit(table, 1 + first);
	if (bucket)
		found = slot_of(bucket, print);
	bucket = suffix_unit(table, 1 + second);
	if (bucket)
		found |= slot_of(bucket, print);
	return found & SUFFIX_CLASS;
}

static __always_inline struct dnsfw_meaning *
meaning_of(void *table, const struct dnsfw_suffix_head *head, __u32 class,
	   __u32 column)
{
	__u32 at = class * head->columns + column;
	struct dnsfw_bucket *row;

	row = suffix_unit(table, head->meanings + at / 8);
	if (!row)
		return 0;
	return (struct dnsfw_meaning *)&row->slots[at % 8];
}

/* What a meaning says of a name so many labels below the suffix */
static __always_inline __u32
outcome_at(const struct dnsfw_meaning *meaning, __u32 below)
{
	if (!below)
		return meaning->at;
	return below == 1 ? meaning->one : meaning->deep;
}

static __always_inline bool
stops(const struct dnsfw_meaning *meaning, __u32 below)
{
	return meaning->stop & (below ? DNSFW_STOP_BELOW : DNSFW_STOP_AT);
}

/* The column of a role's meanings, + 1; 0: the role refuses nothing here */
static __always_inline __u32
column_of(void *table, const struct dnsfw_suffix_head *head, __u32 role)
{
	struct dnsfw_bucket *unit;
	const __u8 *bytes;

	if (role >= DNSFW_MAX_ROLES)
		return 0;
	unit = suffix_unit(table, head->roles + role / 64);
	if (!unit)
		return 0;
	bytes = (const __u8 *)unit;
	return bytes[role % 64];
}

/* A walk under way. The verifier goes over a bpf_loop() body once, whatever
 * the number of labels.
 */
struct walk {
	struct siphash hash;
	__u64 odd;
	void *table;
	const struct dnsfw_suffix_head *head;
	const __u8 *name;
	__u32 next;		/* where the next label begins, of those to come */
	__u32 labels;
	__u32 column;
	__u32 outcome;
	__u8 whole;		/* its root was found */
	__u8 stopped;
	__u8 at[DNSFW_SUFFIX_LABELS];
};

static __always_inline long
hop(struct walk *w, const __u32 room, __u32 index)
{
	__u32 at = w->next & (room - 1);
	__u32 length = w->name[at];

	if (!length) {
		w->whole = 1;
		return 1;
	}
	w->at[index & (DNSFW_SUFFIX_LABELS - 1)] = at;
	w->next = at + length + 1;
	w->labels = index + 1;
	return 0;
}

static __always_inline long
step(struct walk *w, const __u32 room, __u32 index)
{
	__u32 below = (w->labels - 1 - index) & (DNSFW_SUFFIX_LABELS - 1);
	struct dnsfw_meaning *meaning;
	__u32 class, said;

	hash_label(&w->hash, w->name, room, w->at[below], &w->odd);
	class = class_of(w->table, &w->hash, w->head->buckets);
	if (!class)
		return 0;
	meaning = meaning_of(w->table, w->head, class, w->column);
	if (!meaning || stops(meaning, below)) {
		w->stopped = 1;
		return 1;
	}
	said = outcome_at(meaning, below);
	if (said)
		w->outcome = said;
	return 0;
}

static long hop_short(__u32 index, void *walk)
{
	return hop(walk, DNSFW_SHORT_NAME, index);
}

static long hop_long(__u32 index, void *walk)
{
	return hop(walk, DNSFW_LONG_NAME, index);
}

static long step_short(__u32 index, void *walk)
{
	return step(walk, DNSFW_SHORT_NAME, index);
}

static long step_long(__u32 index, void *walk)
{
	return step(walk, DNSFW_LONG_NAME, index);
}

/* What becomes of a name: a dnsfw_outcome, or the number of a template. @name
 * is folded, made of labels, and zero after its root; @room is the constant
 * size of its place, DNSFW_SHORT_NAME or DNSFW_LONG_NAME.
 */
static __always_inline __u32
walk_suffixes(void *table, const struct dnsfw_suffix_head *head,
	      const __u8 *name, const __u32 room, __u32 role)
{
	struct walk w = { .table = table, .head = head, .name = name };
	struct dnsfw_meaning *meaning;

	w.column = column_of(table, head, role);
	if (!w.column--)
		return DNSFW_OUTCOME_PASS;
	meaning = meaning_of(table, head, 0, w.column);
	if (!meaning)
		return DNSFW_OUTCOME_PASS;
	bpf_loop(DNSFW_SUFFIX_LABELS + 1,
		 room == DNSFW_SHORT_NAME ? hop_short : hop_long, &w, 0);
	if (!w.whole)
		return DNSFW_OUTCOME_PASS;
	w.outcome = outcome_at(meaning, w.labels);
	siphash_begin(&w.hash, head->key0, head->key1);
	bpf_loop(w.labels, room == DNSFW_SHORT_NAME ? step_short : step_long,
		 &w, 0);
	if (w.stopped)
		return DNSFW_OUTCOME_PASS;
	if (w.outcome == DNSFW_OUTCOME_DEFAULT && w.odd)
		return DNSFW_OUTCOME_ODD;
	return w.outcome;
}

#endif
