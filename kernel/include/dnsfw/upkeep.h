/* SPDX-License-Identifier: GPL-2.0 */
/* What a host sends to stay alive on its network, judged before any policy.
 * Each kind is narrow in shape and limited in rate, for whatever passes here
 * unasked is a channel for someone.
 */
#ifndef DNSFW_UPKEEP_H
#define DNSFW_UPKEEP_H

#include "report.h"

enum upkeep {
	UPKEEP_NONE = 0,
	UPKEEP_ARP,
	UPKEEP_PORT,		/* EAPOL, LACP */
	UPKEEP_NEIGHBOR,
	UPKEEP_GROUPS,		/* IGMP, MLD */
	UPKEEP_DHCP,
	UPKEEP_TCP_END,		/* RST and last ACK, when no socket is left */
	UPKEEP_ICMP_ERROR,
	UPKEEP_ECHO_REPLY,
};
_Static_assert(UPKEEP_ECHO_REPLY < BUCKET_KINDS, "a bucket each");

enum {
	UPKEEP_FEW = 20,	/* a second and CPU: a lease, a group report */
	UPKEEP_SOME = 100,	/* what others make us say */
	UPKEEP_MANY = 1000,	/* neighbours, ends of connections */
	SMALL = 576,		/* RFC 1122, 3.2.2: what an error need not pass */
	SMALL_IP6 = 1280,	/* RFC 4443, 2.4 (c): errors fill the minimum MTU */
	PROBE_BYTES = 96,	/* ND of one neighbour: 64, and what a nonce adds */
};

enum {
	ICMP_ECHO_ANSWER = 0,
	ICMP_UNREACHABLE = 3,
	ICMP_EXCEEDED = 11,
	ICMP_PARAMETER = 12,
	ICMP6_LAST_ERROR = 4,	/* RFC 4443: 1 to 4 */
	ICMP6_ECHO_ANSWER = 129,
	MLD_FIRST = 130,	/* RFC 2710 */
	MLD_LAST = 132,
	MLD_V2_REPORT = 143,	/* RFC 3810 */
	ND_FIRST = 133,		/* RFC 4861, 4 */
	ND_SOLICIT = 135,
	ND_ADVERTISE = 136,
	ND_LAST = 137,
	DHCP_CLIENT = 68,
	DHCP_SERVER = 67,
	DHCP6_CLIENT = 546,
	DHCP6_SERVER = 547,
};

static __always_inline bool is_link_local(const struct dnsfw_addr *a)
{
	return (a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80) ||
	       (a->b[0] == 0xff && (a->b[1] & 0x0f) == 0x02);
}

static __always_inline bool is_group(const struct packet *p)
{
	return p->family == 4 ? p->dst.b[12] >> 4 == 14 : p->dst.b[0] == 0xff;
}

/* Hop limit 255: honest receivers off this link discard it (RFC 4861, 7.1),
 * but routers pass it on to dishonest ones. So a global neighbour is only for
 * the kernel to talk to, whose neighbours are on the link.
 */
static __always_inline bool
is_neighbor(const struct packet *p, const struct sender *s)
{
	return p->ttl == 255 && p->bytes <= SMALL &&
	       (is_link_local(&p->dst) || !s->crafts);
}

static __always_inline bool is_group_report(const struct packet *p)
{
	return (p->icmp >= MLD_FIRST && p->icmp <= MLD_LAST) ||
	       p->icmp == MLD_V2_REPORT;
}

/* One hop: no router passes a report on */
static __always_inline enum upkeep
upkeep_icmp6(const struct packet *p, const struct sender *s)
{
	if (p->icmp >= ND_FIRST && p->icmp <= ND_LAST)
		return is_neighbor(p, s) ? UPKEEP_NEIGHBOR : UPKEEP_NONE;
	if (is_group_report(p))
		return p->ttl == 1 && is_group(p) ? UPKEEP_GROUPS : UPKEEP_NONE;
	return UPKEEP_NONE;
}

/* Answers that the kernel itself makes; a workload has no such socket */
static __always_inline enum upkeep
upkeep_icmp_kernel(const struct packet *p, const struct decision *d)
{
	if (p->family == 4 ? p->icmp == ICMP_ECHO_ANSWER :
			     p->icmp == ICMP6_ECHO_ANSWER)
		return d->inbound_all ? UPKEEP_ECHO_REPLY : UPKEEP_NONE;
	if (p->family == 6)
		return p->icmp <= ICMP6_LAST_ERROR && p->bytes <= SMALL_IP6 ?
			       UPKEEP_ICMP_ERROR :
			       UPKEEP_NONE;
	if (p->icmp == ICMP_UNREACHABLE || p->icmp == ICMP_EXCEEDED ||
	    p->icmp == ICMP_PARAMETER)
		return p->bytes <= SMALL ? UPKEEP_ICMP_ERROR : UPKEEP_NONE;
	return UPKEEP_NONE;
}

static __always_inline bool is_dhcp(const struct packet *p)
{
	if (p->family == 4)	/* a renewal goes to any address; RFC 2131, 2 */
		return p->sport == DHCP_CLIENT && p->dport == DHCP_SERVER &&
		       p->bytes <= SMALL;
	return p->sport == DHCP6_CLIENT && p->dport == DHCP6_SERVER &&
	       p->bytes <= SMALL_IP6 && is_link_local(&p->dst);
}

/* TC alone sees these: cgroup_skb does not run without a full socket */
static __always_inline bool
is_tcp_end(const struct packet *p, const struct sender *s)
{
	return s->kind != SENDER_SOCKET && !p->payload &&
	       !(p->flags & TCP_SYN) && (p->flags & (TCP_RST | TCP_ACK));
}

static __always_inline enum upkeep
upkeep_kind(const struct packet *p, const struct sender *s,
	    const struct decision *d)
{
	enum upkeep kind = UPKEEP_NONE;

	if (p->link)
		return p->link == TYPE_ARP ? UPKEEP_ARP : UPKEEP_PORT;
	if (p->forwarded || p->frag)	/* RFC 6980: ND is never fragmented */
		return UPKEEP_NONE;
	switch (p->proto) {
	case PROTO_ICMP:
		if (p->family == 6)
			kind = upkeep_icmp6(p, s);
		if (!kind && s->kind == SENDER_KERNEL)
			kind = upkeep_icmp_kernel(p, d);
		return kind;
	case PROTO_IGMP:
		return p->ttl == 1 && is_group(p) ? UPKEEP_GROUPS : UPKEEP_NONE;
	case PROTO_UDP:
		/* a `via` leaves the host its lease */
		return s->takes == DNSFW_ROLE_HOST && is_dhcp(p) ? UPKEEP_DHCP :
								   UPKEEP_NONE;
	case PROTO_TCP:
		return is_tcp_end(p, s) ? UPKEEP_TCP_END : UPKEEP_NONE;
	}
	return UPKEEP_NONE;
}

/* A guest is answered at the address from which it was asked, which is often
 * global (RFC 4861, 7.2.4): no larger than that takes.
 */
static __always_inline enum upkeep guest_icmp6(const struct packet *p)
{
	if (p->icmp < ND_FIRST || p->icmp > ND_LAST)
		return p->ttl == 1 && is_group(p) && is_group_report(p) ?
			       UPKEEP_GROUPS :
			       UPKEEP_NONE;
	if (p->ttl != 255 || p->bytes > SMALL)
		return UPKEEP_NONE;
	if (is_link_local(&p->dst))
		return UPKEEP_NEIGHBOR;
	return (p->icmp == ND_SOLICIT || p->icmp == ND_ADVERTISE) &&
			       p->bytes <= PROBE_BYTES ?
		       UPKEEP_NEIGHBOR :
		       UPKEEP_NONE;
}

/* To whoever serves leases on its link, or to this host */
static __always_inline bool guest_dhcp(const struct packet *p)
{
	__u32 word;

	if (!is_dhcp(p))
		return false;
	__builtin_memcpy(&word, &p->dst.b[12], sizeof(word));
	return p->family == 6 || word == 0xffffffff ||
	       is_local(p->netns, &p->dst);
}

/* What keeps a guest on its link. Nothing of it is the kernel's word: a reset
 * or an error is a packet like any other, and passes with its conversation.
 */
static __always_inline enum upkeep upkeep_of_guest(const struct packet *p)
{
	if (p->link)
		return p->link == TYPE_ARP ? UPKEEP_ARP : UPKEEP_PORT;
	if (p->frag)
		return UPKEEP_NONE;
	switch (p->proto) {
	case PROTO_ICMP:
		return p->family == 6 ? guest_icmp6(p) : UPKEEP_NONE;
	case PROTO_IGMP:
		return p->ttl == 1 && is_group(p) ? UPKEEP_GROUPS : UPKEEP_NONE;
	case PROTO_UDP:
		return guest_dhcp(p) ? UPKEEP_DHCP : UPKEEP_NONE;
	}
	return UPKEEP_NONE;
}

/* One guest's flood is not another's loss */
static __always_inline __u32 guest_bucket(const struct packet *p)
{
	return BUCKET_GUESTS + (p->ifindex % GUEST_BUCKETS) * BUCKET_KINDS;
}

static __always_inline __u32 upkeep_rate(enum upkeep kind)
{
	switch (kind) {
	case UPKEEP_PORT:
	case UPKEEP_GROUPS:
	case UPKEEP_DHCP:
		return UPKEEP_FEW;
	case UPKEEP_ICMP_ERROR:
	case UPKEEP_ECHO_REPLY:
		return UPKEEP_SOME;
	default:
		return UPKEEP_MANY;
	}
}

#endif
