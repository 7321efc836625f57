/* SPDX-License-Identifier: GPL-2.0 */
/* SipHash-1-3 (Aumasson, Bernstein) over words of eight octets, little-endian:
 * nobody who does not know the key makes two names look alike. The words that
 * went in are self-delimiting (each label begins with its length), so no
 * length is added at the end. dnsfw/policy/siphash.py is its twin; vectors in
 * tests/data hold them together.
 */
#ifndef DNSFW_SIPHASH_H
#define DNSFW_SIPHASH_H

#include <linux/types.h>

struct siphash {
	__u64 v0, v1, v2, v3;
};

#define ROTATE(x, bits) (((x) << (bits)) | ((x) >> (64 - (bits))))

static __always_inline void siphash_round(struct siphash *h)
{
	h->v0 += h->v1;
	h->v1 = ROTATE(h->v1, 13) ^ h->v0;
	h->v0 = ROTATE(h->v0, 32);
	h->v2 += h->v3;
	h->v3 = ROTATE(h->v3, 16) ^ h->v2;
	h->v0 += h->v3;
	h->v3 = ROTATE(h->v3, 21) ^ h->v0;
	h->v2 += h->v1;
	h->v1 = ROTATE(h->v1, 17) ^ h->v2;
	h->v2 = ROTATE(h->v2, 32);
}

static __always_inline void
siphash_begin(struct siphash *h, __u64 key0, __u64 key1)
{
	h->v0 = key0 ^ 0x736f6d6570736575ULL;
	h->v1 = key1 ^ 0x646f72616e646f6dULL;
	h->v2 = key0 ^ 0x6c7967656e657261ULL;
	h->v3 = key1 ^ 0x7465646279746573ULL;
}

static __always_inline void siphash_word(struct siphash *h, __u64 word)
{
	h->v3 ^= word;
	siphash_round(h);
	h->v0 ^= word;
}

/* The fingerprint, and where it lies. @h can go on. */
static __always_inline void
siphash_end(const struct siphash *h, __u64 *print, __u64 *place)
{
	struct siphash end = *h;

	end.v2 ^= 0xff;
	siphash_round(&end);
	siphash_round(&end);
	siphash_round(&end);
	*place = end.v1 ^ end.v2;
	*print = *place ^ end.v0 ^ end.v3;
}

#endif
