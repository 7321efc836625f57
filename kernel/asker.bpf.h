/* SPDX-License-Identifier: GPL-2.0 */
/* Whose is a TCP connection? An accepted socket does not show the mark of its
 * peer's packets (SO_MARK stays 0 without tcp_fwmark_accept), so this filter
 * on dnsfw's listener, which every accepted socket inherits, notes it by the
 * socket's cookie. It drops nothing.
 */
#include "include/dnsfw/maps.h"

enum {
	WHOLE_PACKET = -1,
};

PROG("socket")
int dnsfw_asker(struct __sk_buff *skb)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	__u32 mark = skb->mark;
	const __u32 *known;

	if (!mark)	/* no hook of ours saw it */
		return WHOLE_PACKET;
	known = map_get(dnsfw_askers, &cookie);
	if (!known || *known != mark)
		map_put(dnsfw_askers, &cookie, &mark);
	return WHOLE_PACKET;
}
