/* SPDX-License-Identifier: GPL-2.0 */
/* Port 53, taken over: a query for any server is led to a door, a socket of
 * dnsfw in the sender's own namespace, and the reply shows the server that was
 * asked. So resolv.conf stays as it is, and stubs that compare the source of a
 * reply (musl, c-ares, dnspython) believe it.
 */
#ifndef DNSFW_TAKEOVER_H
#define DNSFW_TAKEOVER_H

#include "decide.h"

enum taking {
	TAKING_NONE = 0,	/* not ours to take: judged as it is */
	TAKING_DONE,		/* led to a door: judged as a query to dnsfw */
	TAKING_DENIED,
	TAKING_WATCHED,		/* would be denied; the role only watches */
};

static __always_inline bool takes_over(__u32 role_id)
{
	const struct dnsfw_role *role;

	role = map_get(dnsfw_roles, &role_id);
	return role && (role->flags & DNSFW_TAKEOVER);
}

/* A query that already goes to dnsfw stays as it is: whoever names us in
 * resolv.conf sees us.
 */
static __always_inline bool
is_to_take(const struct packet *p, const struct sender *s,
	   const enum dnsfw_hook hook)
{
	return p->dport == DNS_PORT && has_flow(p) && !s->own &&
	       takes_over(s->role) && !by_other_netns(p, s, hook) &&
	       !to_listener(p);
}

/* Where the socket keeps the server that it asks: the place it has had, else
 * the next, and past the last the oldest goes. Two threads that meet here may
 * get one place for two servers: one reply seems to come from the other, and
 * the client asks again.
 */
static __always_inline __u32
place_of(struct dnsfw_taken *taken, const struct packet *p)
{
	__u32 i;

	if (p->proto == PROTO_TCP)	/* one connection, one server */
		return 0;
#pragma unroll
	for (i = 0; i < DNSFW_DOORS; i++)
		if (taken->servers[i].port == p->dport &&
		    is_same(&taken->servers[i].addr, &p->dst))
			return i;
	return taken->next++ & (DNSFW_DOORS - 1);
}
_Static_assert((DNSFW_DOORS & (DNSFW_DOORS - 1)) == 0, "a mask");
_Static_assert(DNSFW_MAX_ROLES <= 256, "a role fits above a cookie");

static __always_inline __u16
door_of(const struct dnsfw_doors *doors, const struct packet *p, __u32 place)
{
	if (p->proto == PROTO_TCP)
		return p->family == 4 ? doors->tcp4 : doors->tcp6;
	/* the verifier wants to see the bound */
	place &= DNSFW_DOORS - 1;
	return p->family == 4 ? doors->udp4[place] : doors->udp6[place];
}

static __always_inline enum taking
refuse_query(const struct packet *p, const struct sender *s,
	     enum dnsfw_reason reason, const enum dnsfw_hook hook)
{
	struct decision d = {};

	settle(&d, DNSFW_DENY, reason, 0);
	d.audited = audits(s->role, p->now);
	report(p, s, &d, hook);
	return d.audited ? TAKING_WATCHED : TAKING_DENIED;
}

static __always_inline void count_taken(void)
{
	__u32 reason = DNSFW_TAKEN;
	struct dnsfw_counter *c;

	c = map_get(dnsfw_counters, &reason);
	if (c)
		__sync_fetch_and_add(&c->allowed, 1);
}

/* Its packets leave by a device, and no door is there: a socket that is bound
 * to one, or an unconnected one whose server is an address of a link (the
 * route is looked up with that device; connect(2) forgets it in time).
 */
static __always_inline bool
is_bound(const struct bpf_sock *sk, const struct packet *p,
	 const enum dnsfw_hook hook)
{
	if (sk->bound_dev_if && sk->bound_dev_if != LOOPBACK_IFINDEX)
		return true;
	return hook == DNSFW_HOOK_SENDMSG && p->dst.b[0] == 0xfe &&
	       (p->dst.b[1] & 0xc0) == 0x80;
}

/* Root of a namespace that anybody can make (unshare -Un) rewrites marks behind
 * our hooks, so there a mark counts only for a role that has asked there.
 */
static __always_inline void note_asked(const struct sender *s)
{
	const struct dnsfw_settings *set = settings();
	__u64 key = s->netns | (__u64)s->role << 56;
	__u8 yes = 1;

	if (set && s->netns == set->netns)
		return;
	if (!map_get(dnsfw_asked, &key))
		map_put(dnsfw_asked, &key, &yes);
}

/* Changes @p to what will be sent. Past this, judge() sees a query to dnsfw. */
static __always_inline enum taking
take_query(struct bpf_sock *sk, struct packet *p, const struct sender *s,
	   const enum dnsfw_hook hook)
{
	const struct dnsfw_doors *doors;
	struct dnsfw_taken *taken;
	__u64 netns = s->netns;
	__u32 place;
	__u16 door;

	if (is_bound(sk, p, hook))
		return refuse_query(p, s, DNSFW_BOUND, hook);
	doors = map_get(dnsfw_doors, &netns);
	taken = doors ? socket_make(dnsfw_taken, sk) : 0;
	if (!doors || !taken)
		return refuse_query(p, s, DNSFW_NO_DOOR, hook);
	place = place_of(taken, p) & (DNSFW_DOORS - 1);
	door = door_of(doors, p, place);
	if (!door)	/* the namespace has no such family */
		return refuse_query(p, s, DNSFW_NO_DOOR, hook);
	taken->servers[place].addr = p->dst;
	taken->servers[place].port = p->dport;
	taken->servers[place].door = door;
	p->dst = p->family == 4 ? doors->addr4 : doors->addr6;
	p->dport = door;
	note_asked(s);
	count_taken();
	return TAKING_DONE;
}

/* A socket that connects elsewhere forgets whom it asked */
static __always_inline void forget_servers(struct bpf_sock *sk)
{
	struct dnsfw_taken *taken;

	taken = socket_get(dnsfw_taken, sk);
	if (taken)
		__builtin_memset(taken, 0, sizeof(*taken));
}

/* The server behind the door that a datagram came from, or nothing */
static __always_inline const struct dnsfw_server *
find_server(struct bpf_sock *sk, const struct dnsfw_addr *from, __u16 port)
{
	const struct dnsfw_taken *taken;
	__u32 i;

	if (!is_loopback(from))
		return 0;
	taken = socket_get(dnsfw_taken, sk);
	if (!taken)
		return 0;
#pragma unroll
	for (i = 0; i < DNSFW_DOORS; i++)
		if (taken->servers[i].port && taken->servers[i].door == port &&
		    is_mapped(&taken->servers[i].addr) == is_mapped(from))
			return &taken->servers[i];
	return 0;
}

#endif
