/* SPDX-License-Identifier: GPL-2.0 */
/* bind4/6: EPERM where the role may not receive at that port, and where dnsfw
 * itself answers. A listener that never bound gets a port of the kernel's, and
 * answers nobody all the same: what comes in is recorded only where `inbound`
 * says so.
 */
#include "include/dnsfw/inbound.h"
#include "include/dnsfw/listen.h"

/* An address where dnsfw answers is its own, while it runs and while it does
 * not: everybody's queries go there. With SO_REUSEPORT (its workers' sockets
 * have it) a process of its user could take those to one address of a wildcard
 * bind, to one device or from one client. Doors in other namespaces are bound by
 * the helper, and lead only who is there.
 */
static __always_inline bool
is_door(const struct dnsfw_doors *doors, __u16 port)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < DNSFW_DOORS; i++)
		if (doors->udp4[i] == port || doors->udp6[i] == port)
			return true;
	return doors->tcp4 == port || doors->tcp6 == port;
}

static __always_inline bool
is_ours(const struct packet *p, const struct sender *s)
{
	const struct dnsfw_settings *set = settings();
	const struct dnsfw_doors *doors;
	__u64 netns = s->netns;

	if (!set || netns != set->netns)
		return false;
	if (is_unspecified(&p->dst)) {
		if (p->dport == set->dns_port)
			return true;
		doors = map_get(dnsfw_doors, &netns);
		return doors && is_door(doors, p->dport);
	}
	return may_be_ours(p, set) && dnsfw_listens(p, 1);
}

/* What would come in */
static __always_inline void
fill_bind(struct bpf_sock_addr *ctx, struct packet *p, struct sender *s)
{
	__u32 proto = ctx->protocol;

	p->now = bpf_ktime_get_boot_ns();
	p->proto = proto == PROTO_MPTCP ? PROTO_TCP : proto;
	p->dport = host16(ctx->user_port);
	s->netns = bpf_get_netns_cookie(ctx);
	p->netns = HAS_NETNS_COOKIE ? s->netns : 0;
	s->role = role_of_task();
	if (!ctx->sk)
		return;
	if (socket_get(dnsfw_own, ctx->sk))
		s->own = 1;
	use_record(s, socket_get(dnsfw_socks, ctx->sk));
}

/* Port 0 is any that is free: of a client, mostly */
static __always_inline int
judge_bind(struct bpf_sock_addr *ctx, struct packet *p)
{
	struct sender s = {};
	struct role role = {};

	fill_bind(ctx, p, &s);
	if (s.own || !p->dport || by_other_netns(p, &s, DNSFW_HOOK_BIND))
		return 1;
	if ((p->proto == PROTO_UDP || p->proto == PROTO_TCP) && is_ours(p, &s))
		return !refuse(p, &s, DNSFW_BIND, DNSFW_HOOK_BIND);
	if (is_loopback(&p->dst))
		return 1;
	load_role(s.role, &role);
	if (receives(&role, p->proto, p->dport))
		return 1;
	return !refuse(p, &s, DNSFW_BIND, DNSFW_HOOK_BIND);
}

PROG("cgroup/bind4")
int dnsfw_bind4(struct bpf_sock_addr *ctx)
{
	struct packet p = {};

	map_ip4(&p.dst, ctx->user_ip4);
	return judge_bind(ctx, &p);
}

PROG("cgroup/bind6")
int dnsfw_bind6(struct bpf_sock_addr *ctx)
{
	struct packet p = {};
	__u32 word[4];

	word[0] = ctx->user_ip6[0];
	word[1] = ctx->user_ip6[1];
	word[2] = ctx->user_ip6[2];
	word[3] = ctx->user_ip6[3];
	__builtin_memcpy(&p.dst, word, sizeof(p.dst));
	return judge_bind(ctx, &p);
}
