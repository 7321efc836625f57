/* SPDX-License-Identifier: GPL-2.0 */
/* Where dnsfw itself answers, and what leads there */
#ifndef DNSFW_LISTEN_H
#define DNSFW_LISTEN_H

#include "sender.h"

/* Listeners share one port; doors, which are on loopback, have their own */
static __always_inline bool
may_be_ours(const struct packet *p, const struct dnsfw_settings *set)
{
	return p->dport == set->dns_port ||
	       ((set->uses & DNSFW_USES_DOORS) && is_loopback(&p->dst));
}

static __always_inline bool may_be_query(const struct packet *p)
{
	const struct dnsfw_settings *set = settings();

	return set && may_be_ours(p, set) && has_flow(p) &&
	       p->frag != FRAGMENT_LATER;
}

/* A wildcard bind listens on every address of ours: @here */
STAGE int dnsfw_listens(const struct packet *p, int here)
{
	struct dnsfw_listener_key key = {};

	if (!p)
		return false;
	key.netns = p->netns;
	key.addr = p->dst;
	key.port = p->dport;
	if (map_get(dnsfw_listeners, &key))
		return true;
	if (!here)
		return false;
	__builtin_memset(&key.addr, 0, sizeof(key.addr));
	return map_get(dnsfw_listeners, &key) != 0;
}

/* Which addresses are ours only routing knows, so on the way out a wildcard
 * counts where the packet already leaves by lo.
 */
static __always_inline bool to_listener(const struct packet *p)
{
	return !p->forwarded && may_be_query(p) &&
	       dnsfw_listens(p, p->ifindex == LOOPBACK_IFINDEX ||
				  is_loopback(&p->dst));
}

/* On the way in: a loopback address there is nobody's */
static __always_inline bool comes_to_listener(const struct packet *p)
{
	return may_be_query(p) && !is_loopback(&p->dst) &&
	       dnsfw_listens(p, is_local(p->netns, &p->dst));
}

/* What leaves by a device is not for this host, whatever address a packet
 * socket wrote into it or IP_UNICAST_IF (anybody's) sent that way; nor is a
 * loopback address that comes from a wire. The address hooks know no device.
 */
static __always_inline bool
stays_here(const struct packet *p, const enum dnsfw_hook hook)
{
	return p->ifindex == LOOPBACK_IFINDEX ||
	       hook == DNSFW_HOOK_CONNECT || hook == DNSFW_HOOK_SENDMSG;
}

#endif
