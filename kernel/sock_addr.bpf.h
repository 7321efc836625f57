/* SPDX-License-Identifier: GPL-2.0 */
/* connect4/6, sendmsg4/6: EPERM at once, in the caller's own process. They
 * are for the caller's sake; what they cannot see (raw and UDP-Lite sockets,
 * the source port of a connect) the packet hooks judge.
 */
#include "include/dnsfw/decide.h"

/* What the call says of the packet to come */
static __always_inline void
fill_call(struct bpf_sock_addr *ctx, struct packet *p, struct sender *s,
	  const enum dnsfw_hook hook)
{
	__u32 proto = ctx->protocol;

	p->now = bpf_ktime_get_boot_ns();
	s->netns = bpf_get_netns_cookie(ctx);
	p->netns = HAS_NETNS_COOKIE ? s->netns : 0;
	p->family = is_mapped(&p->dst) ? 4 : 6;
	p->proto = proto == PROTO_MPTCP ? PROTO_TCP :
		   proto == PROTO_ICMP6 ? PROTO_ICMP :
					  proto;
	/* a TCP connect is a SYN to come: no old flow may excuse it */
	p->flags = TCP_SYN;
	if (p->proto != PROTO_ICMP)
		p->dport = host16(ctx->user_port);
	/* 0.0.0.0 and :: mean this host (connect(2) on Linux) */
	if (is_unspecified(&p->dst))
		map_ip4(&p->dst, host32(0x7f000001));
	s->role = DNSFW_ROLE_HOST;
	s->kind = SENDER_SOCKET;
	if (!ctx->sk)
		return;
	if (hook == DNSFW_HOOK_SENDMSG)
		p->sport = ctx->sk->src_port;
	if (socket_get(dnsfw_own, ctx->sk))
		s->own = 1;
	use_record(s, socket_get(dnsfw_socks, ctx->sk));
}

static __always_inline int
judge_call(struct bpf_sock_addr *ctx, struct packet *p,
	   const enum dnsfw_hook hook)
{
	struct decision d = {};
	struct sender s = {};

	fill_call(ctx, p, &s, hook);
	forget((__u64 *)&s, sizeof(s), p->now);
	forget((__u64 *)p, sizeof(*p), p->now);
	return judge(p, &s, &d, hook);
}

static __always_inline int
judge_call4(struct bpf_sock_addr *ctx, const enum dnsfw_hook hook)
{
	struct packet p = {};

	map_ip4(&p.dst, ctx->user_ip4);
	return judge_call(ctx, &p, hook);
}

static __always_inline int
judge_call6(struct bpf_sock_addr *ctx, const enum dnsfw_hook hook)
{
	struct packet p = {};
	__u32 word[4];

	word[0] = ctx->user_ip6[0];
	word[1] = ctx->user_ip6[1];
	word[2] = ctx->user_ip6[2];
	word[3] = ctx->user_ip6[3];
	__builtin_memcpy(&p.dst, word, sizeof(p.dst));
	return judge_call(ctx, &p, hook);
}

PROG("cgroup/connect4")
int dnsfw_connect4(struct bpf_sock_addr *ctx)
{
	return judge_call4(ctx, DNSFW_HOOK_CONNECT);
}

PROG("cgroup/connect6")
int dnsfw_connect6(struct bpf_sock_addr *ctx)
{
	return judge_call6(ctx, DNSFW_HOOK_CONNECT);
}

PROG("cgroup/sendmsg4")
int dnsfw_sendmsg4(struct bpf_sock_addr *ctx)
{
	return judge_call4(ctx, DNSFW_HOOK_SENDMSG);
}

PROG("cgroup/sendmsg6")
int dnsfw_sendmsg6(struct bpf_sock_addr *ctx)
{
	return judge_call6(ctx, DNSFW_HOOK_SENDMSG);
}
