/* SPDX-License-Identifier: GPL-2.0 */
/* The entry of a question, found by its hash, compared whole and copied to the
 * desk while it may be written anew (abi_dns.h).
 */
#ifndef DNSFW_ENTRY_H
#define DNSFW_ENTRY_H

#include "dns.h"

/* One word more under the seal */
#define seal_word(sum, factor, word)					\
	do {								\
		(sum) += mix(word) * (factor);				\
		(factor) += 2 * DNSFW_SEAL_STEP;			\
	} while (0)

/* The whole of it: a hash alone proves nothing. @room is a constant. */
static __always_inline bool
is_asked(const struct desk *d, const struct query *q,
	 const struct dnsfw_answer_head *head, const __u8 *name,
	 const __u32 room)
{
	const word64 *a = (const word64 *)name, *b = (word64 *)d->key.name;
	__u64 differs = at64(head) ^ at64(&d->key), bytes = q->name, i;

#pragma clang loop unroll(disable)
	for (i = 0; i < room / 8; i++) {
		plain(i);
		if (i * 8 >= bytes)
			break;
		differs |= a[i] ^ b[i];
	}
	return !differs;
}

enum {
	SEAL_WORD = 1,		/* of the head, */
	FIRST_SEALED_WORD = 3,	/* `until` */
};

/* A copy of an entry, made on the desk, that no writer disturbed: data goes
 * behind the question. @most and @room are constants of the table.
 */
static __always_inline enum dnsfw_fall
copy_answer(struct desk *d, const struct query *q, __u64 seed,
	    const struct dnsfw_answer_head *head, const __u16 *ttl_at,
	    const __u8 *data, const __u32 most, const __u32 room)
{
	__u64 end = within(q->end, QUESTION_END_MASK), ttls, bytes, i;
	const word64 *from = (const word64 *)head;
	__u64 sum = q->hash, factor = seed, seal = from[SEAL_WORD], word;
	word64 *to = (word64 *)&d->head;

#pragma unroll
	for (i = FIRST_SEALED_WORD; i < sizeof(*head) / 8; i++) {
		word = from[i];
		to[i] = word;
		seal_word(sum, factor, word);
	}
	ttls = d->head.ttls;
	from = (const word64 *)ttl_at;
	to = (word64 *)d->ttl_at;
#pragma clang loop unroll(disable)
	for (i = 0; i < most / 4; i++) {
		plain(i);
		if (i * 4 >= ttls)
			break;
		word = from[i];
		to[i] = word;
		seal_word(sum, factor, word);
	}
	bytes = d->head.tail + d->head.opt;
	from = (const word64 *)data;
#pragma clang loop unroll(disable)
	for (i = 0; i < room / 8; i++) {
		plain(i);
		if (i * 8 >= bytes)
			break;
		word = from[i];
		at64(d->frame + end + i * 8) = word;
		seal_word(sum, factor, word);
	}
	keep(d);	/* every way out of the loops goes on as one */
	return sum == seal ? DNSFW_ANSWERED : DNSFW_FALL_CHANGED;
}

static __always_inline enum dnsfw_fall
find_small(struct desk *d, const struct query *q, __u64 seed)
{
	__u64 hash = q->hash;	/* Linux 6.1: a key lies on the stack */
	struct dnsfw_answer *small;

	small = map_get(dnsfw_answers, &hash);
	if (!small || !is_asked(d, q, &small->head, small->name,
				DNSFW_SHORT_NAME))
		return DNSFW_FALL_MISS;
	small->head.hits++;
	return copy_answer(d, q, seed, &small->head, small->ttl_at,
			   small->data, DNSFW_SMALL_TTLS, DNSFW_SMALL_DATA);
}

static __always_inline enum dnsfw_fall
find_big(struct desk *d, const struct query *q, __u64 seed)
{
	__u64 hash = q->hash;
	struct dnsfw_answer_big *big;

	big = map_get(dnsfw_answers_big, &hash);
	if (!big || !is_asked(d, q, &big->head, big->name, DNSFW_SHORT_NAME))
		return DNSFW_FALL_MISS;
	big->head.hits++;
	return copy_answer(d, q, seed, &big->head, big->ttl_at, big->data,
			   DNSFW_BIG_TTLS, DNSFW_BIG_DATA);
}

static __always_inline enum dnsfw_fall
find_long(struct desk *d, const struct query *q, __u64 seed)
{
	__u64 hash = q->hash;
	struct dnsfw_answer_long *big;

	big = map_get(dnsfw_answers_long, &hash);
	if (!big || !is_asked(d, q, &big->head, big->name, DNSFW_LONG_NAME))
		return DNSFW_FALL_MISS;
	big->head.hits++;
	return copy_answer(d, q, seed, &big->head, big->ttl_at, big->data,
			   DNSFW_BIG_TTLS, DNSFW_BIG_DATA);
}

/* Most entries are small */
static __always_inline enum dnsfw_fall
find_entry(struct desk *d, const struct query *q, __u64 seed)
{
	enum dnsfw_fall found;

	if (q->name > DNSFW_SHORT_NAME)
		return find_long(d, q, seed);
	found = find_small(d, q, seed);
	keep(d);
	return found == DNSFW_FALL_MISS ? find_big(d, q, seed) : found;
}

#endif
