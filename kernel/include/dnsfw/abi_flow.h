/* SPDX-License-Identifier: GPL-2.0 */
/* Conversations, and what a socket knows of its own: shared like abi.h */
#ifndef DNSFW_ABI_FLOW_H
#define DNSFW_ABI_FLOW_H

#include "abi.h"

/* How a conversation leaves. One socket's is judged once by its own role and,
 * where a `via` says so, once more at the device by the other.
 */
enum dnsfw_path {
	DNSFW_PATH_SOCKET = 0,
	DNSFW_PATH_FORWARDED = 1,
	DNSFW_PATH_VIA = 2,
};

/* What follows is the hooks' own (kept.h): members called pad are zeroed by
 * whoever writes a row from outside, and nothing to who reads it.
 */

/* When a conversation was last judged whole, and found to live */
struct found {
	__u32 generation;	/* in flows with its rule (stamp_of) */
	__u32 at;		/* jiffies */
};

/* The last one of a socket */
struct kept {
	struct dnsfw_addr remote;
	__u32 ports;		/* local, remote: as on the wire */
	__u32 shape;		/* protocol, family, reason */
	__u32 role;		/* as which it was judged */
	__u32 seq;		/* of the SYN, if that was all of it */
	struct found found;
	__u32 heard;		/* jiffies: when an answer was last noted */
	__u32 unused;		/* older builds had 16 bytes here */
	__u64 version;		/* of what stands above heard; KEPT_WRITING */
};

/* flows, flows_in: LRU. The key is the egress view. For a local socket the
 * local address is zero (the socket is one whatever route it takes, and the
 * sendmsg hook does not know it yet); forwarded traffic carries its source.
 */
struct dnsfw_flow_key {
	__u64 netns;
	struct dnsfw_addr local;
	struct dnsfw_addr remote;
	__u16 local_port;
	__u16 remote_port;
	__u8 proto;
	__u8 forwarded;		/* dnsfw_path */
	__u16 pad;
};
_Static_assert(sizeof(struct dnsfw_flow_key) == 48, "dnsfw_flow_key is ABI");

struct dnsfw_flow {
	__u64 since;
	__u64 seen;
	__u32 role;
	__u32 rule;
	__u32 tcp_seq;		/* of the SYN: its retransmission is the same */
	__u8 state;		/* dnsfw_flow_state */
	__u8 reason;		/* why it was allowed */
	__u16 pad;
	struct found pad_found;
};
_Static_assert(sizeof(struct dnsfw_flow) == 40, "dnsfw_flow is ABI");

/* frags: LRU; first fragment allowed, so its rest may follow */
struct dnsfw_frag_key {
	struct dnsfw_addr src;
	struct dnsfw_addr dst;
	__u64 netns;
	__u32 id;
	__u32 proto;		/* and the sender's role << 8 */
};
_Static_assert(sizeof(struct dnsfw_frag_key) == 48, "dnsfw_frag_key is ABI");

/* socks: sk_storage, who made the socket (cgroup/sock_create). Without a role
 * it says nothing about that: only what is kept.
 */
struct dnsfw_sock {
	__u32 role;
	__u32 pid;
	char comm[DNSFW_COMM];
	__u64 netns;
	struct kept pad_kept;
};
_Static_assert(sizeof(struct dnsfw_sock) == 88, "dnsfw_sock is ABI");

#endif
