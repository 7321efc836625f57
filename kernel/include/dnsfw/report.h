/* SPDX-License-Identifier: GPL-2.0 */
/* What became of a packet: a counter for each reason, and denials as events,
 * a few a second for each reason so that a flood hides no other reason.
 */
#ifndef DNSFW_REPORT_H
#define DNSFW_REPORT_H

#include "sender.h"

#define SECOND 1000000000ULL

enum {
	EVENT_BYTES = 72,
	EVENTS_A_SECOND = 50,	/* for each reason and CPU */
};
_Static_assert(sizeof(struct dnsfw_event) == EVENT_BYTES, "reserved whole");

struct decision {
	__u32 rule;
	__u8 verdict;
	__u8 reason;
	__u8 audited;		/* denied, but the role only watches */
	__u8 inbound_all;	/* of the role: may it answer a ping */
	__u8 lasts;		/* until the generation changes, or it idles */
	__u8 pad[3];
};

static __always_inline bool settle(struct decision *d,
				   enum dnsfw_verdict verdict,
				   enum dnsfw_reason reason, __u32 rule)
{
	d->verdict = verdict;
	d->reason = reason;
	d->rule = rule;
	return true;
}

/* At most @rate a second on this CPU. A softirq that interrupts us may take
 * from the same bucket; at worst one token is counted once for two.
 */
static __always_inline bool take_token(__u32 index, __u32 rate, __u64 now)
{
	struct bucket *b;

	b = map_get(dnsfw_buckets, &index);
	if (!b)
		return false;
	if (now - b->since >= SECOND) {
		b->since = now;
		b->taken = 0;
	}
	if (b->taken >= rate)
		return false;
	b->taken++;
	return true;
}

/* These run in the sender's own process and may ask who that is */
static __always_inline bool is_call(const enum dnsfw_hook hook)
{
	return hook == DNSFW_HOOK_CONNECT || hook == DNSFW_HOOK_SENDMSG ||
	       hook == DNSFW_HOOK_BIND || hook == DNSFW_HOOK_SOCK_CREATE;
}

/* True if an event left. @hook is a constant. */
static __always_inline bool
send_event(const struct packet *p, const struct sender *s,
	   const struct decision *d, const enum dnsfw_hook hook)
{
	struct dnsfw_event *e;

	if (!take_token(BUCKET_EVENTS + d->reason, EVENTS_A_SECOND, p->now))
		return false;
	e = ring_reserve(dnsfw_events, EVENT_BYTES);
	if (!e)
		return false;
	__builtin_memset(e, 0, EVENT_BYTES);
	e->at = p->now;
	e->netns = s->netns;
	e->role = s->role;
	e->rule = d->rule;
	e->ifindex = p->ifindex;
	e->addr = p->dst;
	e->port = p->dport;
	e->local_port = p->sport;
	e->proto = p->proto;
	e->verdict = d->audited ? DNSFW_ALLOW : d->verdict;
	e->reason = d->reason;
	e->hook = hook;
	if (is_call(hook)) {
		e->pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(e->comm, DNSFW_COMM);
	} else {
		e->pid = s->pid;
		__builtin_memcpy(e->comm, s->comm, DNSFW_COMM);
	}
	ring_submit(dnsfw_events, e);
	return true;
}

/* What passes is counted without a lock, for it is most: a softirq that comes
 * between may cost a count. What does not is counted exactly.
 */
static __always_inline void count(struct dnsfw_counter *c,
				  const struct decision *d)
{
	if (!c)
		return;
	if (d->verdict == DNSFW_ALLOW)
		c->allowed++;
	else if (d->audited)
		__sync_fetch_and_add(&c->audited, 1);
	else
		__sync_fetch_and_add(&c->denied, 1);
}

/* What passes without a decision */
static __always_inline void count_reason(__u32 reason)
{
	struct dnsfw_counter *c;

	c = map_get(dnsfw_counters, &reason);
	if (c)
		c->allowed++;
}

/* The self-test counts apart: nobody of this host asked for it */
static __always_inline void count_passed(__u32 role, __u32 reason)
{
	struct dnsfw_counter *c;

	c = map_get(dnsfw_role_counters, &role);
	if (c)
		c->allowed++;
	count_reason(role == DNSFW_ROLE_PROBE ? DNSFW_BY_NOTHING : reason);
}

static __always_inline void
report(const struct packet *p, const struct sender *s,
       const struct decision *d, const enum dnsfw_hook hook)
{
	/* The self-test counts apart: nobody of this host asked for it. */
	__u32 reason = s->role == DNSFW_ROLE_PROBE ? DNSFW_BY_NOTHING : d->reason;
	__u32 role = s->role;
	struct dnsfw_counter *c;

	c = map_get(dnsfw_role_counters, &role);
	count(c, d);
	c = map_get(dnsfw_counters, &reason);
	count(c, d);
	if (d->verdict == DNSFW_ALLOW)
		return;
	if (!send_event(p, s, d, hook) && c)
		__sync_fetch_and_add(&c->sampled_out, 1);
}

#endif
