/* SPDX-License-Identifier: GPL-2.0 */
/* What is sent to a guest. Others guard the sender; here the guest's role says
 * who may begin with it, and what passes is remembered, so that the guest may
 * answer.
 */
#ifndef DNSFW_VISIT_H
#define DNSFW_VISIT_H

#include "inbound.h"

enum {
	ICMP_ECHO = 8,
	ICMP6_ECHO = 128,
};

/* The role is that of the guest which has the destination, by its device. Of
 * the sender only what the packet's socket says counts: dnsfw's own, or the
 * kernel's, or a socket that is gone.
 */
static __always_inline void
find_host(struct __sk_buff *skb, const struct packet *p, struct sender *s)
{
	__u32 role;

	look_at_sender(skb, p, s);
	if (skb->ingress_ifindex) {
		s->own = 0;
		s->kind = SENDER_SOCKET;	/* whoever it is, not us */
	}
	role = role_of_address(&p->dst, skb->ifindex);
	s->role = role ? role : DNSFW_ROLE_HOST;
	s->takes = s->role;
	forget((__u64 *)s, sizeof(*s), p->now);
}

/* A lease, an answer to a neighbour, an error, an echo that was asked for: they
 * begin nothing.
 */
static __always_inline bool
begins_nothing(const struct packet *p, const struct sender *s)
{
	switch (p->proto) {
	case PROTO_ICMP:
		return p->icmp != (p->family == 4 ? ICMP_ECHO : ICMP6_ECHO);
	case PROTO_IGMP:
		return true;
	case PROTO_UDP:
		return p->family == 4 ? p->sport == DHCP_SERVER &&
						p->dport == DHCP_CLIENT :
					p->sport == DHCP6_SERVER &&
						p->dport == DHCP6_CLIENT;
	case PROTO_TCP:	/* this host's own last words */
		return s->kind != SENDER_SOCKET && !(p->flags & TCP_SYN);
	}
	return false;
}

/* What belongs to a conversation, or begins one */
static __always_inline void
by_visit(const struct packet *p, const struct sender *s,
	 const struct role *role, struct decision *d)
{
	struct dnsfw_flow_key key;

	ingress_key(&key, p);
	if (has_flow(p) && !is_syn(p)) {
		if (note_answer(&key, p)) {
			settle(d, DNSFW_ALLOW, DNSFW_FLOW, 0);
			return;
		}
		if (note_inbound(&key, p)) {
			settle(d, DNSFW_ALLOW, DNSFW_INBOUND, 0);
			return;
		}
	}
	settle(d, DNSFW_DENY, DNSFW_INBOUND, 0);
	if ((p->proto == PROTO_TCP && !is_syn(p)) || 
	    !receives(role, p->proto, p->dport))
		return;
	d->verdict = DNSFW_ALLOW;
	if (has_flow(p))
		record_inbound(&key, p, s);
}

static __always_inline void
decide_visit(const struct packet *p, const struct sender *s,
	     const struct role *role, struct decision *d)
{
	if (p->malformed)
		settle(d, DNSFW_DENY, p->malformed, 0);
	else if (p->link)
		settle(d, DNSFW_ALLOW, DNSFW_UPKEEP, 0);
	else if (p->frag == FRAGMENT_LATER)	/* nothing without its first */
		settle(d, DNSFW_ALLOW, DNSFW_FLOW, 0);
	else if (s->own)
		settle(d, DNSFW_ALLOW, DNSFW_OWN_SOCKET, 0);
	else if (begins_nothing(p, s))
		settle(d, DNSFW_ALLOW, DNSFW_UPKEEP, 0);
	else
		by_visit(p, s, role, d);
}

/* Decide and count. Returns whether it may go to the guest. */
static __always_inline bool
visit(const struct packet *p, const struct sender *s, struct decision *d)
{
	struct role role = {};

	keep(d);
	load_role(s->role, &role);
	forget((__u64 *)&role, sizeof(role), p->now);
	decide_visit(p, s, &role, d);
	if (d->verdict != DNSFW_ALLOW && role.word.mode == DNSFW_AUDIT &&
	    audits(s->role, p->now))
		d->audited = 1;
	report(p, s, d, DNSFW_HOOK_TC_GUEST);
	return d->verdict == DNSFW_ALLOW || d->audited;
}

#endif
