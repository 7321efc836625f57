/* SPDX-License-Identifier: GPL-2.0 */
/* Every program of dnsfw in one object: they share the tables. The packet's
 * path through them is drawn in README.md; one file a hook.
 */
#include "answers.bpf.h"
#include "asker.bpf.h"
#include "bind.bpf.h"
#include "cgroup_egress.bpf.h"
#include "cgroup_ingress.bpf.h"
#include "sock_addr.bpf.h"
#include "sock_create.bpf.h"
#include "tc_egress.bpf.h"
#include "tc_guest.bpf.h"
#include "tc_ingress.bpf.h"
#include "tc_lo.bpf.h"
#include "xdp.bpf.h"

#ifndef DNSFW_BCC
char LICENSE[] SEC("license") = "GPL";
#endif
