/* SPDX-License-Identifier: GPL-2.0 */
/* Conversations that were allowed when they began (flows), and those that a
 * peer began with a socket of ours (flows_in).
 *
 * Both tables are LRU hashes, whose elements are reused at once: between our
 * look-up and our reading, an element may become another conversation's. That
 * can let one packet of a conversation pass that ended in this very moment,
 * or note `seen` in the wrong row. It cannot begin anything: no flow is ever
 * made because of a flow.
 */
#ifndef DNSFW_FLOWS_H
#define DNSFW_FLOWS_H

#include "report.h"
#include "role.h"

#define UDP_IDLE (180 * SECOND)
#define UDP_IDLE_NEW (30 * SECOND)	/* nothing came back yet */
#define TCP_IDLE (7440 * SECOND)	/* RFC 5382, 5: keepalives come at 2 h */
#define TCP_IDLE_NEW (180 * SECOND)	/* past the last SYN of Linux, 127 s */
#define TCP_IDLE_CLOSING (60 * SECOND)	/* TIME_WAIT of Linux */
#define FRAGMENTS_LIVE (30 * SECOND)	/* reassembly time of Linux */

static __always_inline void
egress_key(struct dnsfw_flow_key *key, const struct packet *p)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->netns = p->netns;
	key->remote = p->dst;
	key->local_port = p->sport;
	key->remote_port = p->dport;
	key->proto = p->proto;
	if (p->forwarded) {
		key->forwarded = DNSFW_PATH_FORWARDED;
		key->local = p->src;
	}
}

/* The same conversation, seen from a packet of its other direction */
static __always_inline void
ingress_key(struct dnsfw_flow_key *key, const struct packet *p)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->netns = p->netns;
	key->remote = p->src;
	key->local_port = p->dport;
	key->remote_port = p->sport;
	key->proto = p->proto;
	if (p->forwarded) {
		key->forwarded = DNSFW_PATH_FORWARDED;
		key->local = p->dst;
	}
}

/* A `via` is a second opinion, with conversations of its own */
static __always_inline void
sender_key(struct dnsfw_flow_key *key, const struct packet *p,
	   const struct sender *s)
{
	egress_key(key, p);
	if (s->by_way)
		key->forwarded = DNSFW_PATH_VIA;
	key->pad = nothing_of(p->generation);
}

enum life {
	LIFE_NONE = 0,
	LIFE_ENDS,		/* a temporary rule, by the kernel's clock */
	LIFE_LASTS,
};

static __always_inline enum life life_of(__u32 id, __u64 now)
{
	const struct dnsfw_rule *rule;
	__u32 alive;

	rule = map_get(dnsfw_rules, &id);
	if (!rule)
		return LIFE_NONE;
	alive = *(const volatile __u32 *)&rule->alive;
	if (alive == 1)
		return LIFE_LASTS;
	return now < alive * SECOND ? LIFE_ENDS : LIFE_NONE;
}

static __always_inline bool is_alive(__u32 id, __u64 now)
{
	return life_of(id, now) != LIFE_NONE;
}

/* One word, so that no reader joins two */
static __always_inline struct found found_in(const struct dnsfw_flow *flow)
{
	struct found found;
	__u64 word;

	word = *(const volatile __u64 *)&flow->pad_found;
	__builtin_memcpy(&found, &word, sizeof(found));
	return found;
}

/* The rule is in it: a row may become another conversation's under our hands,
 * and whose rule is the same lives as well
 */
static __always_inline __u32 stamp_of(__u32 now_generation, __u32 rule)
{
	return now_generation ^ rule * 0x9e3779b1;
}

static __always_inline void note_found(struct dnsfw_flow *flow, __u32 stamp)
{
	struct found found = { stamp, bpf_jiffies64() };
	__u64 word;

	__builtin_memcpy(&word, &found, sizeof(word));
	*(volatile __u64 *)&flow->pad_found = word;
}

static __always_inline __u64 idle_limit(__u8 proto, __u8 state)
{
	if (proto == PROTO_UDP)
		return state == DNSFW_FLOW_NEW ? UDP_IDLE_NEW : UDP_IDLE;
	if (state == DNSFW_FLOW_NEW)
		return TCP_IDLE_NEW;
	return state == DNSFW_FLOW_CLOSING ? TCP_IDLE_CLOSING : TCP_IDLE;
}

static __always_inline bool
is_live(const struct dnsfw_flow *flow, const struct packet *p)
{
	__u64 seen = flow->seen;

	/* another CPU may have written a later time than ours */
	return p->now <= seen ||
	       p->now - seen < idle_limit(p->proto, flow->state);
}

/* At most one write a second and flow: the cache line stays shared */
static __always_inline void
touch(struct dnsfw_flow *flow, __u64 now)
{
	if (now > flow->seen && now - flow->seen > SECOND)
		flow->seen = now;
}

/* A SYN never passes by a flow, or a closed port would stay open for as long
 * as its last conversation; but a SYN sent again before any reply is the same
 * one.
 */
static __always_inline bool
passes_syn(const struct dnsfw_flow *flow, const struct packet *p)
{
	return !is_syn(p) ||
	       (flow->state == DNSFW_FLOW_NEW && flow->tcp_seq == p->seq);
}

static __always_inline void
note_egress(struct dnsfw_flow *flow, const struct packet *p)
{
	touch(flow, p->now);
	if (p->proto != PROTO_TCP)
		return;
	if (p->flags & (TCP_FIN | TCP_RST))
		flow->state = DNSFW_FLOW_CLOSING;
	else if (!(p->flags & TCP_SYN) && flow->state == DNSFW_FLOW_NEW)
		flow->state = DNSFW_FLOW_OPEN;	/* our stack has the peer's ACK */
}

/* A rule that lived in this generation does so until the next */
static __always_inline enum life
life_of_flow(struct dnsfw_flow *flow, const struct packet *p)
{
	__u32 rule = *(const volatile __u32 *)&flow->rule;
	__u32 stamp = stamp_of(p->generation, rule);
	enum life life = LIFE_LASTS;

	if (!p->generation || found_in(flow).generation != stamp)
		life = life_of(rule, p->now);
	if (life == LIFE_LASTS && p->generation)
		note_found(flow, stamp);
	return life;
}

static __always_inline enum life
passes_by_flow(struct dnsfw_flow *flow, const struct packet *p,
	       const struct sender *s)
{
	if (!is_live(flow, p) || !passes_syn(flow, p) ||
	    (s->known && flow->role != s->role))
		return LIFE_NONE;
	return life_of_flow(flow, p);
}

/* The flow that lets @p pass, or nothing. @lasts: until the next generation */
static __always_inline struct dnsfw_flow *
find_flow(const struct packet *p, const struct sender *s, __u8 *lasts)
{
	struct dnsfw_flow_key key;
	struct dnsfw_flow *flow;
	enum life life;

	sender_key(&key, p, s);
	flow = map_get(dnsfw_flows, &key);
	if (!flow)
		return 0;
	life = passes_by_flow(flow, p, s);
	if (!life)
		return 0;
	*lasts = life == LIFE_LASTS && p->generation;
	note_egress(flow, p);
	return flow;
}

/* Forwarded: the answer leaves by another interface, also as egress. Its role
 * is nobody's business: it answers whoever began. What a guest sends is never
 * one, or it could speak for a server to another guest.
 */
static __always_inline struct dnsfw_flow *find_answered(const struct packet *p)
{
	struct dnsfw_flow_key key;
	struct dnsfw_flow *flow;

	if (!p->forwarded || is_syn(p))
		return 0;
	ingress_key(&key, p);
	flow = map_get(dnsfw_flows, &key);
	if (!flow || !is_live(flow, p) || !is_alive(flow->rule, p->now))
		return 0;
	touch(flow, p->now);
	if (flow->state == DNSFW_FLOW_NEW)
		flow->state = DNSFW_FLOW_OPEN;
	return flow;
}

/* What came in over lo may be answered over lo alone: whoever can write raw
 * packets can bring "SYN from anywhere" to his own listener that way. The
 * sendmsg hook does not know the device; the packet will.
 */
static __always_inline bool
same_side(const struct dnsfw_flow *flow, const struct packet *p)
{
	return flow->reason != DNSFW_LOOPBACK || !p->ifindex ||
	       p->ifindex == LOOPBACK_IFINDEX;
}

/* Whose the receiver is TC cannot always ask (a socket without a record): then
 * the first answer says it, and is held to what that role may receive.
 */
static __always_inline bool
took(struct dnsfw_flow *flow, const struct packet *p, const struct sender *s,
     const struct role *role)
{
	if (flow->role != DNSFW_ROLE_NONE)
		return !s->known || flow->role == s->takes;
	if (!receives(role, p->proto, p->sport))
		return false;
	flow->role = s->takes;
	return true;
}

/* A conversation that a peer began with a socket of ours */
static __always_inline bool
find_inbound(const struct packet *p, const struct sender *s,
	     const struct role *role)
{
	struct dnsfw_flow_key key;
	struct dnsfw_flow *flow;

	if (is_syn(p))
		return false;
	egress_key(&key, p);
	key.pad = nothing_of(p->generation);
	flow = map_get(dnsfw_flows_in, &key);
	if (!flow || !is_live(flow, p) || !same_side(flow, p) ||
	    !took(flow, p, s, role))
		return false;
	note_egress(flow, p);
	return true;
}

/* A conversation begins: called only with a decision of the tables */
static __always_inline void
begin_flow(const struct packet *p, const struct sender *s,
	   const struct decision *d)
{
	struct dnsfw_flow flow = {};
	struct dnsfw_flow_key key;

	sender_key(&key, p, s);
	flow.since = p->now;
	flow.seen = p->now;
	flow.role = s->role;
	flow.rule = d->rule;
	flow.tcp_seq = p->seq;
	flow.reason = d->reason;
	if (d->lasts) {
		flow.pad_found.generation = stamp_of(p->generation, d->rule);
		flow.pad_found.at = bpf_jiffies64();
	}
	flow.state = p->proto == PROTO_TCP && !(p->flags & TCP_SYN) ?
			     DNSFW_FLOW_OPEN :
			     DNSFW_FLOW_NEW;
	map_put(dnsfw_flows, &key, &flow);
}

/* The role is in it: a guest that takes another's address gets no further */
static __always_inline void
fragment_key(struct dnsfw_frag_key *key, const struct packet *p,
	     const struct sender *s)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->src = p->src;
	key->dst = p->dst;
	key->netns = p->netns;
	key->id = p->frag_id;
	key->proto = p->frag_proto | s->role << 8;
}

/* A first fragment was let pass: so will be the rest of its datagram */
static __always_inline void
remember_fragment(const struct packet *p, const struct sender *s)
{
	struct dnsfw_frag_key key;
	__u64 until = p->now + FRAGMENTS_LIVE;

	fragment_key(&key, p, s);
	map_put(dnsfw_frags, &key, &until);
}

static __always_inline bool
follows_fragment(const struct packet *p, const struct sender *s)
{
	struct dnsfw_frag_key key;
	const __u64 *until;

	fragment_key(&key, p, s);
	until = map_get(dnsfw_frags, &key);
	return until && p->now < *until;
}

#endif
