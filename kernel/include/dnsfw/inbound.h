/* SPDX-License-Identifier: GPL-2.0 */
/* What comes in and what it proves: that the peer of a flow answers, and that
 * a socket of ours took a conversation which it may then answer. Nothing is
 * dropped on the way in.
 */
#ifndef DNSFW_INBOUND_H
#define DNSFW_INBOUND_H

#include "decide.h"

/* The peer of one of our flows speaks. A forged datagram can only keep alive
 * what our own side has begun.
 */
static __always_inline bool
note_answer(const struct dnsfw_flow_key *key, const struct packet *p)
{
	struct dnsfw_flow *flow;

	flow = map_get(dnsfw_flows, key);
	if (!flow || !is_live(flow, p))
		return false;
	touch(flow, p->now);
	if (flow->state == DNSFW_FLOW_NEW)
		flow->state = DNSFW_FLOW_OPEN;
	return true;
}

static __always_inline bool
note_inbound(const struct dnsfw_flow_key *key, const struct packet *p)
{
	struct dnsfw_flow *flow;

	flow = map_get(dnsfw_flows_in, key);
	if (!flow || !is_live(flow, p))
		return false;
	touch(flow, p->now);
	if (flow->state == DNSFW_FLOW_NEW)
		flow->state = DNSFW_FLOW_OPEN;
	return true;
}

static __always_inline void
record_inbound(const struct dnsfw_flow_key *key, const struct packet *p,
	       const struct sender *s)
{
	struct dnsfw_flow flow = {};

	flow.since = p->now;
	flow.seen = p->now;
	flow.role = s->role;
	flow.tcp_seq = p->seq;
	flow.reason = p->ifindex == LOOPBACK_IFINDEX ? DNSFW_LOOPBACK :
						       DNSFW_INBOUND;
	map_put(dnsfw_flows_in, key, &flow);
}

/* A socket of @s took this packet, and no conversation of it is known */
static __always_inline void
begin_inbound(const struct dnsfw_flow_key *key, const struct packet *p,
	      const struct sender *s)
{
	struct role role = {};

	load_role(s->role, &role);
	if (receives(&role, p->proto, p->dport))
		record_inbound(key, p, s);
}

/* True if what came in would be new if a socket takes it: a SYN, or a
 * datagram of no conversation
 */
static __always_inline bool
is_beginning(const struct dnsfw_flow_key *key, const struct packet *p)
{
	if (p->malformed || p->frag || !has_flow(p))
		return false;
	if (is_syn(p))
		return true;
	return !note_answer(key, p) && !note_inbound(key, p) &&
	       p->proto == PROTO_UDP;
}

#endif
