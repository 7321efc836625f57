/* SPDX-License-Identifier: GPL-2.0 */
/* One question for every hook: may this packet leave? decide() asks in the
 * order that DESIGN.md gives; the first that has an answer has the last word,
 * and deny is what is left. judge() counts the answer and remembers what it
 * began.
 */
#ifndef DNSFW_DECIDE_H
#define DNSFW_DECIDE_H

#include "flows.h"
#include "upkeep.h"

enum {
	READINGS = 4,		/* of a grant that changes under our eyes */
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

static __always_inline bool
is_same(const struct dnsfw_addr *a, const struct dnsfw_addr *b)
{
	__u64 x[2], y[2];

	__builtin_memcpy(x, a, sizeof(x));
	__builtin_memcpy(y, b, sizeof(y));
	return x[0] == y[0] && x[1] == y[1];
}

/* IPV6_FREEBIND lets anybody send from any address, so far as lo: the kernel
 * would answer (an error that quotes the datagram, an echo) to whoever is
 * named as the source. A transparent proxy's TCP replies begin nothing.
 */
static __always_inline bool makes_us_answer(const struct packet *p)
{
	return p->ifindex == LOOPBACK_IFINDEX && !is_loopback(&p->src) &&
	       !is_same(&p->src, &p->dst) &&
	       (p->proto != PROTO_TCP || is_syn(p));
}

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

/* Listeners share one port; doors, which are on loopback, have their own */
static __always_inline bool
may_be_ours(const struct packet *p, const struct dnsfw_settings *set)
{
	return p->dport == set->dns_port ||
	       ((set->uses & DNSFW_USES_DOORS) && is_loopback(&p->dst));
}

static __always_inline bool may_be_query(const struct packet *p)
{
	const struct dnsfw_settings *set = settings();

	return set && may_be_ours(p, set) && has_flow(p) &&
	       p->frag != FRAGMENT_LATER;
}

/* A wildcard bind listens on every address of ours: @here */
STAGE int dnsfw_listens(const struct packet *p, int here)
{
	struct dnsfw_listener_key key = {};

	if (!p)
		return false;
	key.netns = p->netns;
	key.addr = p->dst;
	key.port = p->dport;
	if (map_get(dnsfw_listeners, &key))
		return true;
	if (!here)
		return false;
	__builtin_memset(&key.addr, 0, sizeof(key.addr));
	return map_get(dnsfw_listeners, &key) != 0;
}

/* Which addresses are ours only routing knows, so on the way out a wildcard
 * counts where the packet already leaves by lo.
 */
static __always_inline bool to_listener(const struct packet *p)
{
	return !p->forwarded && may_be_query(p) &&
	       dnsfw_listens(p, p->ifindex == LOOPBACK_IFINDEX ||
				  is_loopback(&p->dst));
}

/* On the way in: a loopback address there is nobody's */
static __always_inline bool comes_to_listener(const struct packet *p)
{
	return may_be_query(p) && !is_loopback(&p->dst) &&
	       dnsfw_listens(p, is_local(p->netns, &p->dst));
}

/* What leaves by a device is not for this host, whatever address a packet
 * socket wrote into it or IP_UNICAST_IF (anybody's) sent that way; nor is a
 * loopback address that comes from a wire. The address hooks know no device.
 */
static __always_inline bool
stays_here(const struct packet *p, const enum dnsfw_hook hook)
{
	return p->ifindex == LOOPBACK_IFINDEX ||
	       hook == DNSFW_HOOK_CONNECT || hook == DNSFW_HOOK_SENDMSG;
}

/* An answer in dnsfw's name, which dnsfw's own socket did not send */
static __always_inline bool
speaks_for_us(const struct packet *p, const struct sender *s)
{
	struct dnsfw_listener_key key = {};

	if (!s->raw || !has_flow(p))
		return false;
	key.netns = p->netns;
	key.addr = p->src;
	key.port = p->sport;
	if (map_get(dnsfw_listeners, &key))
		return true;
	__builtin_memset(&key.addr, 0, sizeof(key.addr));
	return map_get(dnsfw_listeners, &key) != 0;
}

/* A raw or packet socket writes its own source; only the host's may leave.
 * In force while the daemon says that it keeps the list.
 */
STAGE int dnsfw_lies(const struct packet *p, const struct sender *s)
{
	if (!p || !s || is_unspecified(&p->src))
		return false;
	if (speaks_for_us(p, s))
		return true;
	return keeps_locals(p->netns) && !is_local(p->netns, &p->src);
}

static __always_inline bool
is_spoofed(const struct packet *p, const struct sender *s)
{
	return !p->forwarded && (s->raw || makes_us_answer(p)) &&
	       dnsfw_lies(p, s);
}

/* A guest may take another's address (a subject with `source` and `interface`
 * tells them apart), never the host's: its listeners would answer themselves.
 */
STAGE int dnsfw_is_forged_by_guest(const struct packet *p)
{
	if (!p)
		return true;
	return is_loopback(&p->src) || is_loopback(&p->dst) ||
	       is_unspecified(&p->src) ||
	       (keeps_locals(p->netns) && is_local(p->netns, &p->src));
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

	if (!p || !s || !role || !d || !has_flow(p))
		return false;
	flow = find_flow(p, s);
	if (!flow && forwards)
		flow = find_answered(p);
	if (flow)
		return settle(d, DNSFW_ALLOW, DNSFW_FLOW, flow->rule);
	if (find_inbound(p, s, role))
		return settle(d, DNSFW_ALLOW, DNSFW_INBOUND, 0);
	return false;
}

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
		if (covers(r->portset, p->proto, p->dport))
			return settle(d, r->verdict == DNSFW_ALLOW,
				      r->rule == DNSFW_RULE_BUILTIN ?
					      DNSFW_BUILTIN :
					      DNSFW_ADDRESS_RULE,
				      r->rule);
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

/* Closing slots before opening ones. Sets @d and returns true if one covers
 * the port; else says in @d why none did.
 */
static __always_inline bool
by_slots(const struct dnsfw_grant *grant, const struct packet *p,
	 struct decision *d)
{
	const struct dnsfw_slot *slot;
	__u32 i, rule;
	__u64 until;

	settle(d, DNSFW_DENY, DNSFW_NEVER_RESOLVED, 0);
	for (i = 0; i < DNSFW_SLOTS; i++) {
		slot = &grant->slots[i];
		until = slot->until;
		rule = slot->rule;
		if (!until || !is_alive(rule, p->now))
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

/* What is left when nothing spoke: the reason that by_grant found, or the
 * role's default
 */
static __always_inline void
by_default(const struct role *role, struct decision *d)
{
	d->verdict = DNSFW_DENY;
	if (!role->configured)
		settle(d, DNSFW_DENY, DNSFW_DEFAULT, 0);
	else if (role->word.default_verdict == DNSFW_ALLOW &&
		 !(role->word.flags & DNSFW_RESOLVED_ONLY))
		settle(d, DNSFW_ALLOW, DNSFW_DEFAULT, DNSFW_RULE_DEFAULT);
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
	if (dnsfw_by_conversation(p, s, role, d,
				  hook == DNSFW_HOOK_TC_EGRESS) ||
	    dnsfw_by_address_rule(p, s->role, role, d) ||
	    /* the self-test knocks at loopback by its own grants */
	    (stays_here(p, hook) && s->role != DNSFW_ROLE_PROBE &&
	     by_loopback(p, role, d)) ||
	    dnsfw_by_grant(p, s->role, d))
		return;
	by_default(role, d);
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
	load_role(s->role, &role);
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
