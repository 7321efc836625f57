/* SPDX-License-Identifier: GPL-2.0 */
/* The base: every packet of every socket of the guarded cgroup, after routing
 * and before fragmentation. 0 drops it; raw, ping and UDP-Lite senders see
 * EPERM.
 */
#include "include/dnsfw/decide.h"
#include "include/dnsfw/kept.h"
#include "include/dnsfw/receiver.h"

PROG("cgroup_skb/egress")
int dnsfw_cg_egress(struct __sk_buff *skb)
{
	struct decision d = {};
	struct packet p = {};
	struct sender s = {};
	bool pass;

	if (dnsfw_passes_packet(skb))
		return 1;
	read_packet(skb, &p, FROM_IP, true);
	find_sender(skb, &p, &s);
	dnsfw_look_over_lo(skb, &p, &s);
	pass = judge(&p, &s, &d, DNSFW_HOOK_CGROUP_EGRESS);
	if (d.lasts && d.verdict == DNSFW_ALLOW)
		dnsfw_hold(skb, &p, &s, &d);
	if (d.reason == DNSFW_LISTENER)	/* tells the daemon who asks */
		skb->mark = s.role;
	return pass;
}
