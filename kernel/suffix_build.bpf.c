/* SPDX-License-Identifier: GPL-2.0 */
/* Fills a table of fingerprints from a million names: the kernel's compiler
 * makes of this what the wheel, which fits every machine, cannot carry. Run by
 * BPF_PROG_TEST_RUN, a chunk of text a call; attached to nothing. An object of
 * its own: whoever builds a table needs none of the wall.
 */
#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "include/dnsfw/abi_suffix.h"
#include "include/dnsfw/octets.h"
#include "include/dnsfw/siphash.h"

#define CLASS ((1ULL << DNSFW_SUFFIX_CLASS_BITS) - 1)

struct spilled {
	__u64 print;
	__u64 place;
};

/* Shared with dnsfw/datapath/suffix_build.py. Each name is "\n.www.example.com"
 * and the text is read from its end.
 */
struct build {
	__u32 length;		/* in: of the text; out: what is left of it */
	__u32 unknown;		/* out: no class for this one and the list's */
	__u32 spills;		/* out: names without room in their buckets */
	__u32 entries;		/* out: new slots, the spilled included */
	struct spilled spilled[DNSFW_SUFFIX_SPILLS];
	__u16 joined[1 << DNSFW_SUFFIX_CLASS_BITS];
	__u8 text[DNSFW_SUFFIX_TEXT];
	/* of the name under way; in `reader` the verifier would count along */
	__u64 labels;
	__u64 place;
};
_Static_assert(__builtin_offsetof(struct build, joined) == 16400 &&
	       __builtin_offsetof(struct build, text) == 24592,
	       "suffix_build.py knows them");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct build);
} dnsfw_build SEC(".maps");

/* The table to fill: one after another, for the program is loaded once, as long
 * as the daemon may
 */
struct table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct dnsfw_bucket));
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct table);
} dnsfw_tables SEC(".maps");

struct reader {
	struct siphash hash;
	struct build *build;
	void *table;
	__u64 key0, key1;
	__u32 buckets;
	__u32 home;
	__u32 at;		/* of the octet that comes next, + 1 */
	__u32 end;		/* of the label under way */
	__u32 name_end;
};

static __always_inline struct dnsfw_bucket *bucket(void *table, __u32 number)
{
	__u32 unit = number + 1;

	return bpf_map_lookup_elem(table, &unit);
}

static __always_inline void read_label(struct reader *r, __u32 dot)
{
	__u32 left = r->end - dot, i;
	__u64 skip = 0xff, print, place;

	for (i = 0; i < 8; i++) {
		__u64 word = octets_at(r->build->text, DNSFW_SUFFIX_TEXT,
				       dot + i * 8);

		if (skip)	/* the dot stands where the length belongs */
			word = (word & ~skip) | ((left - 1) & 0x3f);
		if (left < 8)
			word &= (1ULL << (left * 8)) - 1;
		skip = 0;
		siphash_word(&r->hash, word);
		if (left <= 8)
			break;
		left -= 8;
	}
	r->end = dot;
	if (r->build->labels < r->home) {
		siphash_end(&r->hash, &print, &place);
		r->build->place = place;
	}
	r->build->labels++;
}

/* The slot with this fingerprint, else 0; counts the free ones */
static __always_inline __u64 *
search(struct dnsfw_bucket *b, __u64 print, __u32 *free)
{
	__u64 *found = 0;
	__u32 i;

	*free = 0;
	for (i = 0; i < DNSFW_SUFFIX_SLOTS; i++) {
		__u64 slot = b->slots[i];

		if (!slot)
			(*free)++;
		else if (!((slot ^ print) >> DNSFW_SUFFIX_CLASS_BITS))
			found = &b->slots[i];
	}
	return found;
}

enum {
	LAST = DNSFW_SUFFIX_SLOTS - 1,
};

/* The last slot is the greater one of two: somebody went on from here */
static __always_inline void order(struct dnsfw_bucket *b, bool went_on)
{
	__u64 one = b->slots[LAST - 1], two = b->slots[LAST];

	if ((two > one) == went_on)
		return;
	b->slots[LAST - 1] = two;
	b->slots[LAST] = one;
}

/* Slots are taken in order, so the free ones are the last */
static __always_inline void
take(struct dnsfw_bucket *b, __u32 free, __u64 slot)
{
	b->slots[(DNSFW_SUFFIX_SLOTS - free) & LAST] = slot;
	if (free == 1)
		order(b, false);
}

/* False: this name waits for userspace */
static __always_inline bool insert(struct reader *r)
{
	struct build *build = r->build;
	__u32 first, step, second, free1, free2, old;
	struct dnsfw_bucket *b1, *b2;
	__u64 print, place, *slot;

	siphash_end(&r->hash, &print, &place);
	place = build->place;
	first = (place & 0xffffffff) * r->buckets >> 32;
	step = (print >> 32) * r->buckets >> 32;
	second = step >= first ? step - first : step + r->buckets - first;
	b1 = bucket(r->table, first);
	b2 = bucket(r->table, second);
	if (!b1 || !b2)
		return false;
	slot = search(b1, print, &free1);
	if (!slot)
		slot = search(b2, print, &free2);
	else
		free2 = 0;
	if (slot) {
		old = *slot & CLASS;
		if (!build->joined[old]) {
			build->unknown = old;
			return false;
		}
		*slot = (*slot & ~CLASS) | build->joined[old];
		return true;
	}
	print = (print & ~CLASS) | build->joined[0];
	if (free1) {
		take(b1, free1, print);
	} else if (free2) {
		take(b2, free2, print);
		order(b1, true);
	} else {
		if (build->spills >= DNSFW_SUFFIX_SPILLS)
			return false;
		build->spilled[build->spills].print = print;
		build->spilled[build->spills].place = place;
		build->spills++;
	}
	build->entries++;
	return true;
}

static long read_octet(__u32 index, void *reader)
{
	struct reader *r = reader;
	__u32 at = (r->at - 1) & (DNSFW_SUFFIX_TEXT - 1);
	__u8 octet = r->build->text[at];

	if (!r->at)
		return 1;
	if (octet == '.') {
		read_label(r, at);
	} else if (octet == '\n') {
		if (!insert(r))
			return 1;
		siphash_begin(&r->hash, r->key0, r->key1);
		r->end = at;
		r->name_end = at;
		r->build->labels = 0;
	}
	r->at = at;
	return 0;
}

SEC("syscall")
int dnsfw_fill(void *ctx)
{
	const struct dnsfw_suffix_head *head;
	struct reader r = {};
	__u32 zero = 0;

	r.build = bpf_map_lookup_elem(&dnsfw_build, &zero);
	r.table = bpf_map_lookup_elem(&dnsfw_tables, &zero);
	if (!r.build || !r.table)
		return 1;
	head = bpf_map_lookup_elem(r.table, &zero);
	if (!head)
		return 1;
	r.key0 = head->key0;
	r.key1 = head->key1;
	r.buckets = head->buckets;
	r.home = head->home;
	r.build->labels = 0;
	r.at = r.build->length & (DNSFW_SUFFIX_TEXT - 1);
	r.end = r.at;
	r.name_end = r.at;
	siphash_begin(&r.hash, r.key0, r.key1);
	bpf_loop(DNSFW_SUFFIX_TEXT, read_octet, &r, 0);
	r.build->length = r.name_end;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
