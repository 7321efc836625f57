/* SPDX-License-Identifier: GPL-2.0 */
/* Sources that are not the sender's to name */
#ifndef DNSFW_FORGED_H
#define DNSFW_FORGED_H

#include "sender.h"

/* IPV6_FREEBIND lets anybody send from any address, so far as lo: the kernel
 * would answer (an error that quotes the datagram, an echo) to whoever is
 * named as the source. A transparent proxy's TCP replies begin nothing.
 */
static __always_inline bool makes_us_answer(const struct packet *p)
{
	return p->ifindex == LOOPBACK_IFINDEX && !is_loopback(&p->src) &&
	       !is_same(&p->src, &p->dst) &&
	       (p->proto != PROTO_TCP || is_syn(p));
}

/* An answer in dnsfw's name, which dnsfw's own socket did not send */
static __always_inline bool
speaks_for_us(const struct packet *p, const struct sender *s)
{
	struct dnsfw_listener_key key = {};

	if (!s->raw || !has_flow(p))
		return false;
	key.netns = p->netns;
	key.addr = p->src;
	key.port = p->sport;
	if (map_get(dnsfw_listeners, &key))
		return true;
	__builtin_memset(&key.addr, 0, sizeof(key.addr));
	return map_get(dnsfw_listeners, &key) != 0;
}

/* A raw or packet socket writes its own source; only the host's may leave.
 * In force while the daemon says that it keeps the list.
 */
STAGE int dnsfw_lies(const struct packet *p, const struct sender *s)
{
	if (!p || !s || is_unspecified(&p->src))
		return false;
	if (speaks_for_us(p, s))
		return true;
	return keeps_locals(p->netns) && !is_local(p->netns, &p->src);
}

static __always_inline bool
is_spoofed(const struct packet *p, const struct sender *s)
{
	return !p->forwarded && (s->raw || makes_us_answer(p)) &&
	       dnsfw_lies(p, s);
}

/* A guest may take another's address (a subject with `source` and `interface`
 * tells them apart), never the host's: its listeners would answer themselves.
 */
STAGE int dnsfw_is_forged_by_guest(const struct packet *p)
{
	if (!p)
		return true;
	return is_loopback(&p->src) || is_loopback(&p->dst) ||
	       is_unspecified(&p->src) ||
	       (keeps_locals(p->netns) && is_local(p->netns, &p->src));
}

#endif
