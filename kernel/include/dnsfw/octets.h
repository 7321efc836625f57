/* SPDX-License-Identifier: GPL-2.0 */
/* Names, eight octets at a time */
#ifndef DNSFW_OCTETS_H
#define DNSFW_OCTETS_H

#include <linux/types.h>

#define OCTETS 0x0101010101010101ULL

/* Eight octets from @at on, by aligned loads, which is all that the stack
 * takes. @room is the constant size of @text, a power of two; what would lie
 * past its end is something else.
 */
static __always_inline __u64
octets_at(const __u8 *text, const __u32 room, __u32 at)
{
	__u32 low = at & (room - 8), high = (low + 8) & (room - 8);
	__u32 shift = (at & 7) * 8;

	return *(const __u64 *)(text + low) >> shift |
	       *(const __u64 *)(text + high) << (63 - shift) << 1;
}

#define AT_LEAST(t, c) ((t) + (0x80 - (c)) * OCTETS)
#define WITHIN(t, from, to) (AT_LEAST(t, from) & ~AT_LEAST(t, (to) + 1))

/* Bit 7 of each octet that is none of a-z, 0-9, - and _ */
static __always_inline __u64 odd_octets(__u64 word)
{
	__u64 t = word & 0x7f * OCTETS;
	__u64 fine = WITHIN(t, 'a', 'z') | WITHIN(t, '0', '9') |
		     WITHIN(t, '-', '-') | WITHIN(t, '_', '_');

	return (~fine | word) & 0x80 * OCTETS;
}

#endif
