/* SPDX-License-Identifier: GPL-2.0 */
/* bind4/6: EPERM where the role may not receive at that port. */
#include "include/dnsfw/inbound.h"

PROG("cgroup/bind4")
int dnsfw_bind4(struct bpf_sock_addr *ctx)
{
	return 1;
}

PROG("cgroup/bind6")
int dnsfw_bind6(struct bpf_sock_addr *ctx)
{
	return 1;
}
