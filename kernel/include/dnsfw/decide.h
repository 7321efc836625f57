/* SPDX-License-Identifier: GPL-2.0 */
/* One question for every hook: may this packet leave? decide() asks in the
 * order that DESIGN.md gives; the first that has an answer has the last word,
 * and deny is what is left. judge() counts the answer and remembers what it
 * began.
 */
#ifndef DNSFW_DECIDE_H
#define DNSFW_DECIDE_H

#include "forged.h"
#include "listen.h"
#include "opened.h"
#include "upkeep.h"

/* Before Linux 6.15 nothing says whose a socket is that is older than the wall,
 * but its source: an address that is not the host's is of another namespace,
 * such as a container that was there before us. A forged one gains nothing: it
 * still has to leave by a device of ours, and over lo it is none. The list may
 * be a stopped daemon's.
 */
static __always_inline bool
is_elsewhere(const struct packet *p, const struct sender *s)
{
	struct dnsfw_local_key key = {};

	if (HAS_NETNS_COOKIE || s->kind != SENDER_SOCKET || s->raw ||
	    p->malformed || is_unspecified(&p->src) || is_loopback(&p->src) ||
	    makes_us_answer(p) || !map_get(dnsfw_locals, &key))
		return false;
	key.addr = p->src;
	return map_get(dnsfw_locals, &key) == 0;
}

/* Guards of other namespaces judge their own sockets */
static __always_inline bool
by_other_netns(const struct packet *p, const struct sender *s,
	       const enum dnsfw_hook hook)
{
	const struct dnsfw_settings *set;

	/* TC devices are of our namespace, whoever sends through them */
	if (hook == DNSFW_HOOK_TC_EGRESS || hook == DNSFW_HOOK_TC_GUEST)
		return false;
	set = settings();
	if (!set || !set->only_netns)
		return false;
	/* a subject of ours is ours wherever it went (unshare -n) */
	if (s->role != DNSFW_ROLE_HOST)
		return false;
	if (s->netns)
		return s->netns != set->netns;
	return hook == DNSFW_HOOK_CGROUP_EGRESS && is_elsewhere(p, s);
}

static __always_inline bool
by_upkeep(const struct packet *p, const struct sender *s, struct decision *d,
	  const enum dnsfw_hook hook)
{
	const bool guest = hook == DNSFW_HOOK_TC_GUEST;
	enum upkeep kind = guest ? upkeep_of_guest(p) : upkeep_kind(p, s, d);
	__u32 bucket = guest ? guest_bucket(p) : BUCKET_UPKEEP;

	if (!kind)
		return false;
	if (!take_token(bucket + kind, upkeep_rate(kind), p->now))
		return settle(d, DNSFW_DENY, DNSFW_UPKEEP_RATE, 0);
	return settle(d, DNSFW_ALLOW, DNSFW_UPKEEP, 0);
}

/* Nothing leaves but to this host, and answers to whom it let in */
static __always_inline bool
by_lockdown(const struct packet *p, const struct sender *s,
	    const struct role *role, struct decision *d,
	    const enum dnsfw_hook hook)
{
	if (!role->word.lockdown ||
	    (is_loopback(&p->dst) && stays_here(p, hook)))
		return false;
	if (role->word.lockdown == DNSFW_LOCKDOWN_ON &&
	    p->proto == PROTO_TCP && p->frag != FRAGMENT_LATER &&
	    find_inbound(p, s, role))
		return settle(d, DNSFW_ALLOW, DNSFW_INBOUND, 0);
	return settle(d, DNSFW_DENY, DNSFW_LOCKDOWN, 0);
}

/* @forwards: an answer may leave by here to whoever asked through us */
STAGE int dnsfw_by_conversation(const struct packet *p, const struct sender *s,
				const struct role *role, struct decision *d,
				int forwards)
{
	const struct dnsfw_flow *flow;
	__u8 lasts = 0;

	if (!p || !s || !role || !d || !has_flow(p))
		return false;
	flow = find_flow(p, s, &lasts);
	d->lasts = lasts;
	if (!flow && forwards)
		flow = find_answered(p);
	if (flow)
		return settle(d, DNSFW_ALLOW, DNSFW_FLOW, flow->rule);
	if (find_inbound(p, s, role)) {
		d->lasts = p->generation != 0;
		return settle(d, DNSFW_ALLOW, DNSFW_INBOUND, 0);
	}
	return false;
}

static __always_inline bool
may_reach(const struct packet *p, const struct role *role)
{
	switch (role->loopback) {
	case DNSFW_LOOPBACK_ALL:
		return true;
	case DNSFW_LOOPBACK_OWN:
		return p->receiver != RECEIVER_UNKNOWN;
	}
	return covers(role->loopback_ports, p->proto, p->dport);
}

/* The last word, or a relay of another role would lead out of this one */
static __always_inline bool
by_loopback(const struct packet *p, const struct role *role,
	    struct decision *d)
{
	if (!is_loopback(&p->dst) || !role->configured)
		return false;
	if (may_reach(p, role))
		return settle(d, DNSFW_ALLOW, DNSFW_LOOPBACK, 0);
	return settle(d, DNSFW_DENY, DNSFW_LOOPBACK_OTHER, 0);
}

/* What is left when nothing spoke: the reason that by_grant found, or the
 * role's default
 */
static __always_inline void
by_default(const struct packet *p, const struct role *role,
	   struct decision *d)
{
	d->verdict = DNSFW_DENY;
	if (!role->configured)
		settle(d, DNSFW_DENY, DNSFW_DEFAULT, 0);
	if (!role->configured ||
	    role->word.default_verdict != DNSFW_ALLOW ||
	    (role->word.flags & DNSFW_RESOLVED_ONLY))
		return;
	settle(d, DNSFW_ALLOW, DNSFW_DEFAULT, DNSFW_RULE_DEFAULT);
	d->lasts = p->generation &&
		   life_of(DNSFW_RULE_DEFAULT, p->now) == LIFE_LASTS;
}

static __always_inline void
decide(const struct packet *p, const struct sender *s,
       const struct role *role, struct decision *d,
       const enum dnsfw_hook hook)
{
	if (by_other_netns(p, s, hook)) {
		settle(d, DNSFW_ALLOW, DNSFW_OTHER_NETNS, 0);
		return;
	}
	if (p->malformed) {
		settle(d, DNSFW_DENY, p->malformed, 0);
		return;
	}
	if (s->own) {
		settle(d, DNSFW_ALLOW, DNSFW_OWN_SOCKET, 0);
		return;
	}
	if (by_upkeep(p, s, d, hook))
		return;
	if (hook == DNSFW_HOOK_TC_GUEST ? dnsfw_is_forged_by_guest(p) :
					  is_spoofed(p, s)) {
		settle(d, DNSFW_DENY, DNSFW_SPOOFED, 0);
		return;
	}
	if (hook == DNSFW_HOOK_TC_GUEST ?
		    comes_to_listener(p) :
		    stays_here(p, hook) && to_listener(p)) {
		settle(d, DNSFW_ALLOW, DNSFW_LISTENER, 0);
		return;
	}
	if (by_lockdown(p, s, role, d, hook))
		return;
	if (p->frag == FRAGMENT_LATER) {	/* its ports are elsewhere */
		if (follows_fragment(p, s))
			settle(d, DNSFW_ALLOW, DNSFW_FLOW, 0);
		else
			settle(d, DNSFW_DENY, DNSFW_FRAG_ORPHAN, 0);
		return;
	}
	/* a call to connect has no port yet, so no conversation */
	if ((hook != DNSFW_HOOK_CONNECT &&
	     dnsfw_by_conversation(p, s, role, d,
				   hook == DNSFW_HOOK_TC_EGRESS)) ||
	    dnsfw_by_address_rule(p, s->role, role, d) ||
	    /* the self-test knocks at loopback by its own grants */
	    (stays_here(p, hook) && s->role != DNSFW_ROLE_PROBE &&
	     by_loopback(p, role, d)) ||
	    dnsfw_by_grant(p, s->role, d))
		return;
	by_default(p, role, d);
}

/* Refused by one hook's own question, not by decide(). False where the role
 * only watches.
 */
static __always_inline bool
refuse(const struct packet *p, const struct sender *s,
       enum dnsfw_reason reason, const enum dnsfw_hook hook)
{
	struct decision d = {};

	settle(&d, DNSFW_DENY, reason, 0);
	d.audited = audits(s->role, p->now);
	report(p, s, &d, hook);
	return !d.audited;
}

/* The tables let it begin; a flow, a reply or upkeep begins nothing */
static __always_inline bool begins(const struct decision *d)
{
	return d->verdict == DNSFW_ALLOW &&
	       (d->reason == DNSFW_ADDRESS_RULE ||
		d->reason == DNSFW_GRANTED || d->reason == DNSFW_DEFAULT);
}

/* connect(2) of a UDP socket sends nothing. getaddrinfo(3) of glibc connects
 * one to every address it found, to sort them by source (RFC 6724); refusing
 * that for a port of a granted address would reorder answers and cry wolf.
 * Each datagram is judged when it is sent.
 */
static __always_inline bool
sends_nothing(const struct packet *p, const struct decision *d,
	      const enum dnsfw_hook hook)
{
	return hook == DNSFW_HOOK_CONNECT && p->proto == PROTO_UDP &&
	       d->reason == DNSFW_WRONG_PORT;
}

STAGE int dnsfw_remember(const struct packet *p, const struct sender *s,
			 const struct decision *d)
{
	if (!p || !s || !d)
		return 0;
	if (p->frag == FRAGMENT_FIRST)
		remember_fragment(p, s);
	if (begins(d) && has_flow(p))
		begin_flow(p, s, d);
	return 0;
}

static __always_inline bool judge_by(const struct packet *p,
				     const struct sender *s,
				     struct decision *d,
				     const enum dnsfw_hook hook)
{
	struct role role = {};

	keep(d);
	load_role(s->role + nothing_of(p->generation), &role);
	forget((__u64 *)&role, sizeof(role), p->now);
	d->inbound_all = role.inbound == DNSFW_INBOUND_ALL;
	decide(p, s, &role, d, hook);
	if (sends_nothing(p, d, hook))
		return true;
	/* a role that only watches; but lockdown is an order, not a policy */
	if (d->verdict != DNSFW_ALLOW && role.word.mode == DNSFW_AUDIT &&
	    d->reason != DNSFW_LOCKDOWN && audits(s->role, p->now))
		d->audited = 1;
	report(p, s, d, hook);
	if (d->verdict != DNSFW_ALLOW && !d->audited)
		return false;
	/* the address hooks know no local port; the packet will follow */
	if (hook == DNSFW_HOOK_CONNECT || hook == DNSFW_HOOK_SENDMSG)
		return true;
	if (p->frag == FRAGMENT_FIRST || begins(d))
		dnsfw_remember(p, s, d);
	return true;
}

#define JUDGE(name, hook)						\
STAGE int name(const struct packet *p, const struct sender *s,		\
	       struct decision *d)					\
{									\
	return p && s && d && judge_by(p, s, d, hook);			\
}

JUDGE(dnsfw_judge_connect, DNSFW_HOOK_CONNECT)
JUDGE(dnsfw_judge_sendmsg, DNSFW_HOOK_SENDMSG)
JUDGE(dnsfw_judge_cgroup, DNSFW_HOOK_CGROUP_EGRESS)
JUDGE(dnsfw_judge_tc, DNSFW_HOOK_TC_EGRESS)
JUDGE(dnsfw_judge_guest, DNSFW_HOOK_TC_GUEST)

/* Decide, count, remember. Returns whether the packet may leave. @hook is a
 * constant of each caller.
 */
static __always_inline bool judge(const struct packet *p,
				  const struct sender *s, struct decision *d,
				  const enum dnsfw_hook hook)
{
	switch (hook) {
	case DNSFW_HOOK_CONNECT:
		return dnsfw_judge_connect(p, s, d);
	case DNSFW_HOOK_SENDMSG:
		return dnsfw_judge_sendmsg(p, s, d);
	case DNSFW_HOOK_CGROUP_EGRESS:
		return dnsfw_judge_cgroup(p, s, d);
	case DNSFW_HOOK_TC_EGRESS:
		return dnsfw_judge_tc(p, s, d);
	default:
		return dnsfw_judge_guest(p, s, d);
	}
}

#endif
