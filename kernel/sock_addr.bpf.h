/* SPDX-License-Identifier: GPL-2.0 */
/* connect4/6, sendmsg4/6: EPERM at once, in the caller's own process. They
 * are for the caller's sake; what they cannot see (raw and UDP-Lite sockets,
 * the source port of a connect) the packet hooks judge. A query that is taken
 * over is led to dnsfw here; recvmsg4/6 and getpeername4/6 show the server
 * that was asked.
 */
#include "include/dnsfw/kept.h"
#include "include/dnsfw/receiver.h"
#include "include/dnsfw/takeover.h"

/* A socket that nobody made: it is older than the wall, or the kernel's, below
 * one of another family (SMC). Who connects it takes it for his user's or his
 * group's role, too, for no cgroup tells that later. The kernel's own threads
 * are of user 0.
 */
static __always_inline void
use_caller(struct bpf_sock *sk, struct sender *s, const enum dnsfw_hook hook)
{
	__u32 role = role_of_task_cgroup();

	if (!role && hook == DNSFW_HOOK_CONNECT &&
	    (__u32)bpf_get_current_uid_gid()) {
		role = role_of_ids();
		if (role)
			label(sk, role);
	}
	if (role)
		s->role = role;
}

/* What the call says of the packet to come */
static __always_inline void
fill_call(struct bpf_sock_addr *ctx, struct packet *p, struct sender *s,
	  const enum dnsfw_hook hook)
{
	const struct dnsfw_sock *made;
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
	if (is_unspecified(&p->dst) && p->family == 4)
		map_ip4(&p->dst, host32(0x7f000001));
	else if (is_unspecified(&p->dst))
		p->dst.b[15] = 1;
	s->role = DNSFW_ROLE_HOST;
	s->kind = SENDER_SOCKET;
	if (!ctx->sk)
		return;
	if (hook == DNSFW_HOOK_SENDMSG)
		p->sport = ctx->sk->src_port;
	if (socket_get(dnsfw_own, ctx->sk))
		s->own = 1;
	made = socket_get(dnsfw_socks, ctx->sk);
	use_record(s, made);
	if (!made || !made->role)
		use_caller(ctx->sk, s, hook);
	s->takes = s->role;
}

static __always_inline enum taking
take_call(struct bpf_sock_addr *ctx, struct packet *p, const struct sender *s,
	  const enum dnsfw_hook hook)
{
	if (!ctx->sk)
		return TAKING_NONE;
	if (is_to_take(p, s, hook))
		return take_query(ctx->sk, p, s, hook);
	if (hook == DNSFW_HOOK_CONNECT)
		forget_servers(ctx->sk);
	return TAKING_NONE;
}

static __always_inline void set_port(struct bpf_sock_addr *ctx, __u16 port)
{
	ctx->user_port = host16(port);
}

static __always_inline void
set_address4(struct bpf_sock_addr *ctx, const struct dnsfw_addr *addr)
{
	__u32 word;

	__builtin_memcpy(&word, &addr->b[12], sizeof(word));
	ctx->user_ip4 = word;
}

static __always_inline void
set_address6(struct bpf_sock_addr *ctx, const struct dnsfw_addr *addr)
{
	__u32 word[4];

	__builtin_memcpy(word, addr, sizeof(word));
	ctx->user_ip6[0] = word[0];
	ctx->user_ip6[1] = word[1];
	ctx->user_ip6[2] = word[2];
	ctx->user_ip6[3] = word[3];
}

static __always_inline void
read_address6(const struct bpf_sock_addr *ctx, struct dnsfw_addr *addr)
{
	__u32 word[4];

	word[0] = ctx->user_ip6[0];
	word[1] = ctx->user_ip6[1];
	word[2] = ctx->user_ip6[2];
	word[3] = ctx->user_ip6[3];
	__builtin_memcpy(addr, word, sizeof(word));
}

STAGE int dnsfw_take_call(struct bpf_sock_addr *ctx, struct packet *p,
			  const struct sender *s, int hook)
{
	return p && s ? take_call(ctx, p, s, hook) : TAKING_DENIED;
}

/* @family is the call's, a constant: a mapped address comes as IPv6 */
static __always_inline int
judge_call(struct bpf_sock_addr *ctx, struct packet *p, const int family,
	   const enum dnsfw_hook hook)
{
	struct decision d = {};
	struct sender s = {};
	int taking;

	if (hook == DNSFW_HOOK_SENDMSG && dnsfw_passes_call(ctx, p))
		return 1;
	fill_call(ctx, p, &s, hook);
	forget((__u64 *)&s, sizeof(s), p->now);
	forget((__u64 *)p, sizeof(*p), p->now);
	taking = dnsfw_take_call(ctx, p, &s, hook);
	if (taking == TAKING_DENIED)
		return 0;
	if (taking == TAKING_WATCHED)
		return 1;
	if (taking == TAKING_DONE) {
		set_port(ctx, p->dport);
		if (family == 4)
			set_address4(ctx, &p->dst);
		else
			set_address6(ctx, &p->dst);
		forget((__u64 *)p, sizeof(*p), p->now);
	}
	dnsfw_look_in_call(ctx, p, &s);
	return judge(p, &s, &d, hook);
}

static __always_inline int
judge_call4(struct bpf_sock_addr *ctx, const enum dnsfw_hook hook)
{
	struct packet p = {};

	map_ip4(&p.dst, ctx->user_ip4);
	return judge_call(ctx, &p, 4, hook);
}

static __always_inline int
judge_call6(struct bpf_sock_addr *ctx, const enum dnsfw_hook hook)
{
	struct packet p = {};

	read_address6(ctx, &p.dst);
	return judge_call(ctx, &p, 6, hook);
}

/* A socket that asked shows whom; to all others nothing happens. */
static __always_inline int show_server4(struct bpf_sock_addr *ctx)
{
	const struct dnsfw_server *server;
	struct dnsfw_addr from;

	if (!ctx->sk)
		return 1;
	map_ip4(&from, ctx->user_ip4);
	server = find_server(ctx->sk, &from, host16(ctx->user_port));
	if (server) {
		set_address4(ctx, &server->addr);
		set_port(ctx, server->port);
	}
	return 1;
}

/* The reply to a mapped address comes to an IPv6 socket, in mapped form */
static __always_inline int show_server6(struct bpf_sock_addr *ctx)
{
	const struct dnsfw_server *server;
	struct dnsfw_addr from;

	if (!ctx->sk)
		return 1;
	read_address6(ctx, &from);
	server = find_server(ctx->sk, &from, host16(ctx->user_port));
	if (server) {
		set_address6(ctx, &server->addr);
		set_port(ctx, server->port);
	}
	return 1;
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

PROG("cgroup/recvmsg4")
int dnsfw_recvmsg4(struct bpf_sock_addr *ctx)
{
	return show_server4(ctx);
}

PROG("cgroup/recvmsg6")
int dnsfw_recvmsg6(struct bpf_sock_addr *ctx)
{
	return show_server6(ctx);
}

PROG("cgroup/getpeername4")
int dnsfw_getpeer4(struct bpf_sock_addr *ctx)
{
	return show_server4(ctx);
}

PROG("cgroup/getpeername6")
int dnsfw_getpeer6(struct bpf_sock_addr *ctx)
{
	return show_server6(ctx);
}
