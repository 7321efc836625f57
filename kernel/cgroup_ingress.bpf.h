/* SPDX-License-Identifier: GPL-2.0 */
/* Runs when a socket of the guarded cgroup takes a packet: no forged packet
 * alone gets here, its receiver is skb->sk.
 */
#include "include/dnsfw/heard.h"
#include "include/dnsfw/inbound.h"

PROG("cgroup_skb/ingress")
int dnsfw_cg_ingress(struct __sk_buff *skb)
{
	struct dnsfw_flow_key key;
	struct packet p = {};
	struct sender s = {};

	if (was_heard(skb))
		return 1;
	read_packet(skb, &p, FROM_IP, true);
	ingress_key(&key, &p);
	if (!is_beginning(&key, &p)) {
		note_heard(skb, &p);
		return 1;
	}
	find_sender(skb, &p, &s);
	if (s.own || (p.proto == PROTO_TCP && !s.listens))
		return 1;
	/* where keys tell no namespaces apart, it would be taken for ours */
	if (by_other_netns(&p, &s, DNSFW_HOOK_NONE))
		return 1;
	begin_inbound(&key, &p, &s);
	return 1;
}
