/* SPDX-License-Identifier: GPL-2.0 */
/* How bytes become a packet. Nothing is believed that they do not show: not
 * skb->protocol (an AF_PACKET sender sets it freely), not a length, not the
 * order of headers. Bytes are read by bpf_skb_load_bytes, never in place: data
 * may be paged, and direct access in cgroup_skb test runs was broken until
 * November 2024.
 *
 * Every parse_ function returns DNSFW_BY_NOTHING, or the reason why the
 * packet is malformed.
 */
#ifndef DNSFW_PARSE_H
#define DNSFW_PARSE_H

#include "ip4.h"
#include "ip6.h"

/* From the IP header on: cgroup hooks, and devices without a link header */
static __always_inline enum dnsfw_reason
parse_packet(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	__u8 version;

	if (bpf_skb_load_bytes(skb, at, &version, 1) < 0)
		return DNSFW_SHORT;
	if (version >> 4 == 4)
		return parse_ip4(skb, at, p);
	if (version >> 4 == 6)
		return parse_ip6(skb, at, p);
	return DNSFW_BAD_IP;
}

/* LACP goes to a group address that no bridge forwards (802.1Q, 8.6.3) */
static __always_inline bool stays_on_link(struct __sk_buff *skb)
{
	__u8 mac[6];

	if (bpf_skb_load_bytes(skb, 0, mac, sizeof(mac)) < 0)
		return false;
	return mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && !mac[3] &&
	       !mac[4] && mac[5] < 0x10;
}

/* From the Ethernet header on */
static __always_inline enum dnsfw_reason
parse_frame(struct __sk_buff *skb, struct packet *p)
{
	/* the driver's or the stack's own tag is beside the frame, not in it */
	__u32 tags = skb->vlan_present ? 1 : 0;
	struct tag_header tag;
	__u32 at = 14;
	__u16 type;
	int i;

	if (bpf_skb_load_bytes(skb, 12, &type, sizeof(type)) < 0)
		return DNSFW_SHORT;
	type = host16(type);
	for (i = 0; i <= MAX_TAGS; i++) {
		if (type != TYPE_VLAN && type != TYPE_QINQ)
			break;
		if (++tags > MAX_TAGS)
			return DNSFW_VLAN_DEEP;
		if (bpf_skb_load_bytes(skb, at, &tag, sizeof(tag)) < 0)
			return DNSFW_SHORT;
		type = host16(tag.type);
		at += sizeof(tag);
	}
	if (type == TYPE_IP4)
		return parse_ip4(skb, at, p);
	if (type == TYPE_IP6)
		return parse_ip6(skb, at, p);
	if (type == TYPE_ARP ? skb->len > at + MAX_ARP_BYTES :
	    type == TYPE_SLOW ? !stays_on_link(skb) :
				type != TYPE_EAPOL)
		return DNSFW_ETHERTYPE;
	p->link = type;
	return DNSFW_BY_NOTHING;
}

/* The namespace that keys a packet: its socket's, where a local socket sent
 * it. A device's frames that come in or pass through are keyed as the host's:
 * without a socket the helper would say init_net's, and over a veth or a
 * bridge the socket is still the one that sent it in another namespace. 0 for
 * all where the helper is missing.
 */
static __always_inline __u64 netns_of(struct __sk_buff *skb, bool local)
{
	const struct dnsfw_settings *s;

	if (!HAS_NETNS_COOKIE)
		return 0;
	if (local && skb->sk)
		return bpf_get_netns_cookie(skb);
	s = settings();
	return s ? s->netns : 0;
}

enum {
	FROM_IP = 0,		/* data starts at the IP header */
	FROM_ETHER = 1,
};

STAGE int dnsfw_parse_frame(struct __sk_buff *skb, struct packet *p)
{
	if (p)
		p->malformed = parse_frame(skb, p);
	return 0;
}

STAGE int dnsfw_parse_packet(struct __sk_buff *skb, struct packet *p)
{
	if (p)
		p->malformed = parse_packet(skb, 0, p);
	return 0;
}

/* All of @p that the packet itself says. @from is a constant of the caller;
 * @local: a socket of ours sends or takes it.
 */
static __always_inline void
read_packet(struct __sk_buff *skb, struct packet *p, const int from, bool local)
{
	__u64 now = bpf_ktime_get_boot_ns();

	p->now = now;
	p->generation = generation();
	p->netns = netns_of(skb, local);
	p->ifindex = skb->ifindex;
	if (from == FROM_ETHER)
		dnsfw_parse_frame(skb, p);
	else
		dnsfw_parse_packet(skb, p);
	forget((__u64 *)p, sizeof(*p), now);
}

#endif
