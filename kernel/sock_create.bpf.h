/* SPDX-License-Identifier: GPL-2.0 */
/* The record of a socket, made once with it: whose it is stays true when it is
 * passed on, and a process that changes its cgroup keeps the old role's
 * sockets as the old role's. Accepted sockets inherit it (BPF_F_CLONE).
 */
#include "include/dnsfw/decide.h"

PROG("cgroup/sock_create")
int dnsfw_sock_create(struct bpf_sock *ctx)
{
	struct dnsfw_sock *made;

	made = socket_make(dnsfw_socks, ctx);
	if (!made)	/* no memory: judged as the host's, unknown process */
		return 1;
	made->role = DNSFW_ROLE_HOST;
	made->pid = bpf_get_current_pid_tgid() >> 32;
	made->netns = bpf_get_netns_cookie(ctx);
	bpf_get_current_comm(made->comm, DNSFW_COMM);
	return 1;
}
