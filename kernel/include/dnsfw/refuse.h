/* SPDX-License-Identifier: GPL-2.0 */
/* A question that no entry answers, of a name that the policy refuses: the
 * template of its refusal takes the place of the entry. A few a second are told
 * to the daemon, so that people see what was refused.
 */
#ifndef DNSFW_REFUSE_H
#define DNSFW_REFUSE_H

#include "dns.h"
#include "suffix.h"

#ifndef DNSFW_BCC
enum {
	REFUSED_BYTES = sizeof(struct dnsfw_asked_event),
	TEMPLATE_NAME = sizeof(struct dnsfw_refusal_key),
};

static __always_inline void
tell_refused(const struct desk *d, const struct query *q, __u64 found,
	     __u64 now)
{
	struct dnsfw_asked_event *e;
	__u32 i;

	if (!take_token(BUCKET_EVENTS + DNSFW_BY_NAME, EVENTS_A_SECOND, now))
		return;
	e = ring_reserve(dnsfw_refused, REFUSED_BYTES);
	if (!e)
		return;
	__builtin_memset(e, 0, __builtin_offsetof(struct dnsfw_asked_event,
						  name));
	e->at = now;
	e->netns = q->netns;
	e->role = q->role;
	e->generation = found >> 32;
	e->outcome = found & 0xffff;
	__builtin_memcpy(e->addr, &q->src, sizeof(e->addr));
	e->port = q->sport;
	e->qtype = q->qtype;
	e->length = q->name;
	for (i = 0; i < sizeof(e->name) / 8; i++)
		((__u64 *)e->name)[i] = ((const __u64 *)d->key.name)[i];
	ring_submit(dnsfw_refused, e);
}

/* True: the desk's key is that of a template now */
static __always_inline bool
refuse_by_suffix(struct desk *d, struct query *q, const struct dnsfw_dns *dns,
		 __u64 now)
{
	__u64 *words = (__u64 *)&d->key;
	__u64 found;

	found = find_refusal(&d->key, dns->suffix);
	if (!found)
		return false;
	tell_refused(d, q, found, now);
	d->key.role = DNSFW_ROLE_NONE;
	d->key.qtype = found >> 16 & 0xffff;
	d->key.flags = 0;
	d->key.length = TEMPLATE_NAME;
	words[1] = (found & 0xffff) << 32 | found >> 32;
	q->name = TEMPLATE_NAME;
	q->hash = mix(words[0]) * dns->factors[0] +
		  mix(words[1]) * dns->factors[1];
	return true;
}
#else
static __always_inline bool
refuse_by_suffix(struct desk *d, struct query *q, const struct dnsfw_dns *dns,
		 __u64 now)
{
	return false;
}
#endif
#endif
