/* SPDX-License-Identifier: GPL-2.0 */
/* The record of a socket, made once with it: whose it is stays true when it is
 * passed on, and a process that changes its cgroup keeps the old role's
 * sockets as the old role's. Accepted sockets inherit it (BPF_F_CLONE).
 */
#include "include/dnsfw/decide.h"

/* A role whose queries are taken over, in a namespace where dnsfw has no
 * socket yet: told now, it is there before the first query.
 */
static __always_inline void ask_for_doors(const struct dnsfw_sock *made)
{
	struct decision d = { .verdict = DNSFW_ALLOW,
			      .reason = DNSFW_NO_DOOR };
	const struct dnsfw_role *role;
	struct packet p = {};
	struct sender s = {};
	__u32 id = made->role;
	__u64 netns = made->netns;

	role = map_get(dnsfw_roles, &id);
	if (!role || !(role->flags & DNSFW_TAKEOVER))
		return;
	if (map_get(dnsfw_doors, &netns))
		return;
	p.now = bpf_ktime_get_boot_ns();
	s.role = id;
	s.netns = netns;
	if (by_other_netns(&p, &s, DNSFW_HOOK_SOCK_CREATE))
		return;
	send_event(&p, &s, &d, DNSFW_HOOK_SOCK_CREATE);
}

/* What speaks for an MPTCP socket on the wire are sockets of the kernel's, below
 * it. They have its cgroup and no record, and are made by nobody: a role of a
 * user or a group would be left by them.
 */
static __always_inline bool
loses_role(const struct bpf_sock *ctx, const struct dnsfw_sock *made)
{
	struct packet p = {};
	struct sender s = {};

	if (ctx->protocol != PROTO_MPTCP || made->role == DNSFW_ROLE_HOST ||
	    role_of_task_cgroup())
		return false;
	p.now = bpf_ktime_get_boot_ns();
	p.proto = PROTO_TCP;
	use_record(&s, made);
	return refuse(&p, &s, DNSFW_UNKNOWN_ASKER, DNSFW_HOOK_SOCK_CREATE);
}

PROG("cgroup/sock_create")
int dnsfw_sock_create(struct bpf_sock *ctx)
{
	struct dnsfw_sock *made;

	made = socket_make(dnsfw_socks, ctx);
	if (!made)	/* no memory: judged by the cgroup, unknown process */
		return 1;
	made->role = role_of_task();
	made->pid = bpf_get_current_pid_tgid() >> 32;
	made->netns = bpf_get_netns_cookie(ctx);
	bpf_get_current_comm(made->comm, DNSFW_COMM);
	ask_for_doors(made);
	return !loses_role(ctx, made);
}
