/* SPDX-License-Identifier: GPL-2.0 */
/* What the tables open and close: address rules, and grants by names */
#ifndef DNSFW_OPENED_H
#define DNSFW_OPENED_H

#include "flows.h"

enum {
	READINGS = 4,		/* of a grant that changes under our eyes */
};

/* The list of the longest prefix holds the rules of all covering ones */
STAGE int dnsfw_by_address_rule(const struct packet *p, __u32 role_id,
				const struct role *role, struct decision *d)
{
	const struct dnsfw_fixed_rule *r;
	struct dnsfw_fixed_key key;
	const struct dnsfw_fixed *list;
	__u32 i;

	if (!p || !role || !d)
		return false;
	key.prefixlen = 64 + 128;
	key.table = role->word.table;
	key.role = role_id;
	key.addr = p->dst;
	list = map_get(dnsfw_fixed, &key);
	if (!list)
		return false;
	for (i = 0; i < DNSFW_FIXED_ENTRIES && i < list->used; i++) {
		r = &list->rules[i];
		if (r->ends && !is_alive(r->rule, p->now))
			continue;
		if (!covers(r->portset, p->proto, p->dport))
			continue;
		d->lasts = !r->ends && p->generation;
		return settle(d, r->verdict == DNSFW_ALLOW,
			      r->rule == DNSFW_RULE_BUILTIN ?
				      DNSFW_BUILTIN :
				      DNSFW_ADDRESS_RULE,
			      r->rule);
	}
	return false;
}

/* Closing slots before opening ones. Sets @d and returns true if one covers
 * the port; else says in @d why none did.
 */
static __always_inline bool
by_slots(const struct dnsfw_grant *grant, const struct packet *p,
	 struct decision *d)
{
	const struct dnsfw_slot *slot;
	enum life life;
	__u32 i, rule;
	__u64 until;

	settle(d, DNSFW_DENY, DNSFW_NEVER_RESOLVED, 0);
	for (i = 0; i < DNSFW_SLOTS; i++) {
		slot = &grant->slots[i];
		until = slot->until;
		rule = slot->rule;
		if (!until)
			continue;
		life = life_of(rule, p->now);
		if (!life)
			continue;
		if (until <= p->now) {
			if (d->reason == DNSFW_NEVER_RESOLVED &&
			    slot->verdict == DNSFW_ALLOW)
				settle(d, DNSFW_DENY, DNSFW_EXPIRED, rule);
			continue;
		}
		if (!covers(slot->portset, p->proto, p->dport)) {
			if (d->reason != DNSFW_GRANTED &&
			    slot->verdict == DNSFW_ALLOW)
				settle(d, DNSFW_DENY, DNSFW_WRONG_PORT, rule);
			continue;
		}
		if (slot->verdict != DNSFW_ALLOW)
			return settle(d, DNSFW_DENY, DNSFW_CLOSED, rule);
		d->lasts = life == LIFE_LASTS && p->generation;
		settle(d, DNSFW_ALLOW, DNSFW_GRANTED, rule);
	}
	return d->reason == DNSFW_GRANTED;
}

static __always_inline bool same(const struct decision *a,
				 const struct decision *b)
{
	return a->rule == b->rule && a->verdict == b->verdict &&
	       a->reason == b->reason;
}

/* An update puts a new element in the old one's place, and the old one is
 * reused for another address while we still read it: slots that were never
 * ours, or half of them. So a reading counts when a second one, of a fresh
 * look-up, says the same. (That the element is the same proves nothing: the
 * last one freed is the first one used.)
 */
STAGE int dnsfw_by_grant(const struct packet *p, __u32 role_id,
			 struct decision *d)
{
	const struct dnsfw_grant *grant;
	struct dnsfw_grant_key key;
	struct decision before;
	bool found = false;
	int i;

	if (!p || !d)
		return false;
	key.role = role_id;
	key.addr = p->dst;
	for (i = 0; i < READINGS; i++) {
		before = *d;
		settle(d, DNSFW_DENY, DNSFW_NEVER_RESOLVED, 0);
		grant = map_get(dnsfw_grants, &key);
		if (!grant)
			return false;
		found = by_slots(grant, p, d);
		if (i && same(d, &before))
			break;
	}
	return found;
}

#endif
