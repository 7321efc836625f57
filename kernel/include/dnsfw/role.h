/* SPDX-License-Identifier: GPL-2.0 */
/* What a role says: its row, read once, and the ports that it lists. */
#ifndef DNSFW_ROLE_H
#define DNSFW_ROLE_H

#include "packet.h"

/* The first word of struct dnsfw_role, which no reload may tear */
struct role_word {
	__u32 table;
	__u8 default_verdict;
	__u8 mode;
	__u8 lockdown;
	__u8 flags;
};
_Static_assert(sizeof(struct role_word) == 8, "one load");

enum {
	FEW_RANGES = 4,		/* what most portsets have */
};

struct role {
	struct role_word word;
	__u16 inbound_ports;
	__u16 loopback_ports;
	__u8 inbound;
	__u8 loopback;
	__u8 configured;
	__u8 pad;
};
_Static_assert(sizeof(struct role) == 16, "forget() goes by words");

static __always_inline void load_role(__u32 id, struct role *role)
{
	const struct dnsfw_role *live;
	__u64 word;

	live = map_get(dnsfw_roles, &id);
	if (!live)
		return;		/* all zero: denies everything */
	word = *(const volatile __u64 *)live;
	__builtin_memcpy(&role->word, &word, sizeof(word));
	role->inbound = live->inbound;
	role->inbound_ports = live->inbound_ports;
	role->loopback = live->loopback;
	role->loopback_ports = live->loopback_ports;
	role->configured = live->configured;
}

/* Whether the role only watches. A pause ends by this clock, daemon or none. */
static __always_inline bool audits(__u32 id, __u64 now)
{
	const struct dnsfw_role *role;

	role = map_get(dnsfw_roles, &id);
	if (!role || role->mode != DNSFW_AUDIT)
		return false;
	return !role->audit_until || now < role->audit_until * SECOND;
}

/* Negative unless @r covers the port: no branch, because the verifier walks
 * both sides of each, in every round of every loop around this one
 */
static __always_inline __s64
misses(const struct dnsfw_port_range *r, __s64 proto, __s64 port)
{
	__s64 other = proto ^ r->proto;

	return (port - r->low) | (r->high - port) | -other;
}

/* Ranges past the last used one are zero: IP protocol 0 is never judged */
STAGE int dnsfw_covers(__u32 portset, __u32 proto, __u32 port)
{
	const struct dnsfw_portset *set;
	__s64 all = -1;
	__u32 i;

	set = map_get(dnsfw_portsets, &portset);
	if (!set)
		return false;
#pragma unroll
	for (i = 0; i < FEW_RANGES; i++)
		all &= misses(&set->ranges[i], proto, port);
	if (all >= 0 || set->used <= FEW_RANGES)
		return all >= 0;
#pragma unroll
	for (i = FEW_RANGES; i < DNSFW_PORT_RANGES; i++)
		all &= misses(&set->ranges[i], proto, port);
	return all >= 0;
}

static __always_inline bool covers(__u16 portset, __u8 proto, __u16 port)
{
	return dnsfw_covers(portset, proto, port);
}

static __always_inline bool
receives(const struct role *role, __u8 proto, __u16 port)
{
	switch (role->inbound) {
	case DNSFW_INBOUND_ALL:
		return true;
	case DNSFW_INBOUND_TCP:
		return proto == PROTO_TCP;
	case DNSFW_INBOUND_PORTS:
		return covers(role->inbound_ports, proto, port);
	}
	return false;
}

#endif
