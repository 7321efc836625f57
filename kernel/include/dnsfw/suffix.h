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

#include "maps.h"

/* What a suffix is looked for by */
struct mark {
	__u64 print;
	__u32 first;
	__u32 pad;
};

/* Of the name under way, a suffix a label: one a CPU, as the desk (dns.h) */
struct marks {
	struct mark of[DNSFW_SUFFIX_LABELS];
};
MAP_PERCPU(dnsfw_marks, struct marks, 1);

#ifndef DNSFW_BCC	/* it has no functions that bpf_loop() could call */

#include "octets.h"
#include "packet.h"
#include "siphash.h"

enum {
	MOST_LABEL = 63,
	ROOM = DNSFW_LONG_NAME,
	TYPE_A = 1,
	TYPE_PTR = 12,
	TYPE_AAAA = 28,
};

#define SUFFIX_CLASS ((1ULL << DNSFW_SUFFIX_CLASS_BITS) - 1)

static __always_inline struct dnsfw_bucket *
suffix_unit(void *table, __u32 unit)
{
	struct dnsfw_bucket *found;

	found = inner_get(table, &unit);
	return found;
}

/* The slot's class where the fingerprint is among the eight. Without branches,
 * of which the verifier would walk every combination: clang must not see that
 * it asks for equality.
 */
static __always_inline __u64
slot_of(const struct dnsfw_bucket *bucket, __u64 print)
{
	__u64 found = 0;
	__u32 i;

#pragma clang loop unroll(full)
	for (i = 0; i < DNSFW_SUFFIX_SLOTS; i++) {
		__u64 slot = bucket->slots[i];
		__u64 differs = (slot ^ print) >> DNSFW_SUFFIX_CLASS_BITS;

		asm volatile("" : "+r"(differs));
		found |= slot & -((differs - 1) >> 63);
	}
	return found;
}

/* A line of memory that no cache has takes as long as all the rest: it is asked
 * for, and nobody waits.
 */
static __always_inline void ask_for(const struct dnsfw_bucket *bucket)
{
	*(const volatile __u64 *)&bucket->slots[DNSFW_SUFFIX_SLOTS - 1];
}

/* 0: no rule and no list has this suffix. A bucket says whether somebody went on
 * from it to his second one, so mostly one line of memory says it.
 */
static __always_inline __u32
class_of(void *table, const struct mark *mark, __u32 buckets)
{
	__u64 print = mark->print, found;
	__u32 first = mark->first, step, second;
	struct dnsfw_bucket *bucket;

	bucket = suffix_unit(table, 1 + first);
	if (!bucket)
		return 0;
	found = slot_of(bucket, print);
	if (found || bucket->slots[DNSFW_SUFFIX_SLOTS - 1] <=
			     bucket->slots[DNSFW_SUFFIX_SLOTS - 2])
		return found & SUFFIX_CLASS;
	step = (print >> 32) * buckets >> 32;
	second = step - first;
	second += buckets & -(step < first);
	bucket = suffix_unit(table, 1 + second);
	return bucket ? slot_of(bucket, print) & SUFFIX_CLASS : 0;
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

/* A walk under way. The verifier goes over what bpf_loop() calls once, however
 * many labels and octets there are.
 */
struct walk {
	struct siphash hash;
	__u64 odd;		/* octets that no ordinary name has */
	void *table;
	const struct dnsfw_suffix_head *head;
	struct marks *marks;
	const __u8 *name;
	__u32 length;
	__u32 next;		/* where the label begins that comes next, or is hashed */
	__u32 labels;
	__u32 column;
	__u32 first;		/* bucket of the suffix under way */
	__u32 outcome;
	__u8 whole;		/* its root was found, where it belongs */
	__u8 at[DNSFW_SUFFIX_LABELS];
};

static long hop(__u32 index, void *walk)
{
	struct walk *w = walk;
	__u32 at = w->next & (ROOM - 1), length = w->name[at];

	if (!length || length > MOST_LABEL) {
		w->whole = !length && at + 1 == w->length;
		return 1;
	}
	w->at[index & (DNSFW_SUFFIX_LABELS - 1)] = at;
	w->next = at + length + 1;
	w->labels = index + 1;
	return 0;
}

/* The hash goes on over one word of a label, whose first octet is its length.
 * Nothing is counted in @walk: a number that grows is a state more each time.
 */
static long hash_word(__u32 index, void *walk)
{
	struct walk *w = walk;
	__u32 at = w->next & (ROOM - 1);
	__u64 word = octets_at(w->name, ROOM, at + index * 8);
	__u32 left = w->name[at] + 1 - index * 8;
	__u64 used = left >= 8 ? ~0ULL : (1ULL << (left * 8)) - 1;

	word &= used;
	siphash_word(&w->hash, word);
	w->odd |= odd_octets(word) & used & (index ? ~0ULL : ~0xffULL);
	return 0;
}

/* Marks every suffix before any is looked for: so all their memory comes at once */
static long mark_label(__u32 index, void *walk)
{
	struct walk *w = walk;
	__u32 below = (w->labels - 1 - index) & (DNSFW_SUFFIX_LABELS - 1);
	struct mark *mark = &w->marks->of[below];
	struct dnsfw_bucket *bucket;
	__u64 place;

	w->next = w->at[below];
	bpf_loop(w->name[w->next & (ROOM - 1)] / 8 + 1, hash_word, w, 0);
	siphash_end(&w->hash, &mark->print, &place);
	if (index < w->head->home) {
		w->first = (place & 0xffffffff) * w->head->buckets >> 32;
		bucket = suffix_unit(w->table, 1 + w->first);
		if (bucket)
			ask_for(bucket);
	}
	mark->first = w->first;
	return 0;
}

static long step(__u32 index, void *walk)
{
	struct walk *w = walk;
	__u32 below = (w->labels - 1 - index) & (DNSFW_SUFFIX_LABELS - 1);
	struct dnsfw_meaning *meaning;
	__u32 class, said;

	class = class_of(w->table, &w->marks->of[below], w->head->buckets);
	if (!class)
		return 0;
	meaning = meaning_of(w->table, w->head, class, w->column);
	if (!meaning || stops(meaning, below)) {
		w->outcome = DNSFW_OUTCOME_PASS;
		return 1;
	}
	said = outcome_at(meaning, below);
	if (said)
		w->outcome = said;
	return 0;
}

/* A dnsfw_outcome, or the number of a template */
static __always_inline __u32
walk_suffixes(void *table, const struct dnsfw_suffix_head *head,
	      const struct dnsfw_question *key)
{
	struct walk w = { .table = table, .head = head, .name = key->name };
	struct dnsfw_meaning *meaning;
	__u32 zero = 0;

	w.length = key->length;
	w.column = column_of(table, head, key->role);
	if (!w.column--)
		return DNSFW_OUTCOME_PASS;
	meaning = meaning_of(table, head, 0, w.column);
	if (!meaning)
		return DNSFW_OUTCOME_PASS;
	bpf_loop(DNSFW_SUFFIX_LABELS + 1, hop, &w, 0);
	if (!w.whole || w.labels > DNSFW_SUFFIX_LABELS)
		return DNSFW_OUTCOME_PASS;
	w.outcome = outcome_at(meaning, w.labels);
	w.marks = map_get(dnsfw_marks, &zero);
	if (!w.marks)
		return DNSFW_OUTCOME_PASS;
	siphash_begin(&w.hash, head->key0, head->key1);
	bpf_loop(w.labels, mark_label, &w, 0);
	bpf_loop(w.labels, step, &w, 0);
	if (w.outcome == DNSFW_OUTCOME_DEFAULT && w.odd)
		return DNSFW_OUTCOME_ODD;
	return w.outcome;
}

/* The template of a name that is refused: generation << 32 | kind << 16 |
 * outcome; 0 where Python decides. The key is that of a question, folded; past
 * the name may lie anything. @number is dnsfw_dns.suffix.
 */
STAGE __u64 find_refusal(struct dnsfw_question *key, __u32 number)
{
	const struct dnsfw_suffix_head *head;
	__u32 which = number - 1, outcome;
	__u16 kind = DNSFW_REFUSAL_KIND_ANY, qtype;
	void *table;

	if (!key)
		return 0;
	qtype = key->qtype;
	/* no question, or about no one type: wire/query.py has words for it */
	if (!number || !qtype || qtype == 41 || (qtype >= 128 && qtype < 256))
		return 0;
	table = map_get(dnsfw_suffixes, &which);
	if (!table)
		return 0;
	head = (const struct dnsfw_suffix_head *)suffix_unit(table, 0);
	if (!head || head->version != DNSFW_SUFFIX_VERSION)
		return 0;
	outcome = walk_suffixes(table, head, key);
	/* the names of addresses that a role may reach are allowed */
	if (outcome < (qtype == TYPE_PTR ? DNSFW_OUTCOME_FIRST :
					   DNSFW_OUTCOME_DEFAULT))
		return 0;
	if (head->zero && qtype == TYPE_A)
		kind = DNSFW_REFUSAL_KIND_A;
	else if (head->zero && qtype == TYPE_AAAA)
		kind = DNSFW_REFUSAL_KIND_AAAA;
	return (__u64)head->generation << 32 | (__u32)kind << 16 | outcome;
}

#endif /* DNSFW_BCC */
#endif
