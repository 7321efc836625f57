/* SPDX-License-Identifier: GPL-2.0 */
#include "include/dnsfw/maps.h"

PROG("cgroup/connect4") int dnsfw_connect4(struct bpf_sock_addr *ctx) { return 1; }
PROG("cgroup/connect6") int dnsfw_connect6(struct bpf_sock_addr *ctx) { return 1; }
PROG("cgroup/sendmsg4") int dnsfw_sendmsg4(struct bpf_sock_addr *ctx) { return 1; }
PROG("cgroup/sendmsg6") int dnsfw_sendmsg6(struct bpf_sock_addr *ctx) { return 1; }
PROG("cgroup_skb/egress") int dnsfw_cg_egress(struct __sk_buff *skb) { return 1; }
PROG("cgroup_skb/ingress") int dnsfw_cg_ingress(struct __sk_buff *skb) { return 1; }
PROG("cgroup/sock_create") int dnsfw_sock_create(struct bpf_sock *sk) { return 1; }
PROG("tc") int dnsfw_tc_egress(struct __sk_buff *skb) { return -1; }
PROG("tc") int dnsfw_tc_egress_l3(struct __sk_buff *skb) { return -1; }
PROG("tc") int dnsfw_tc_ingress(struct __sk_buff *skb) { return -1; }
PROG("tc") int dnsfw_tc_ingress_l3(struct __sk_buff *skb) { return -1; }
char LICENSE[] SEC("license") = "GPL";
