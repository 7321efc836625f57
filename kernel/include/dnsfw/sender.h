/* SPDX-License-Identifier: GPL-2.0 */
/* Who sends: dnsfw itself, a socket with a role, the kernel, or nobody here. */
#ifndef DNSFW_SENDER_H
#define DNSFW_SENDER_H

#include "packet.h"

enum {
	FAMILY_IP4 = 2,		/* AF_INET */
	FAMILY_IP6 = 10,	/* AF_INET6 */
	FAMILY_PACKET = 17,	/* AF_PACKET */
	KIND_RAW = 3,		/* SOCK_RAW */
	STATE_LISTEN = 10,	/* TCP_LISTEN */
	ROOT_CGROUP = 1,	/* its id on every cgroup2 tree */
};

enum sender_kind {
	SENDER_NOBODY = 0,	/* no socket: forwarded, or the kernel alone */
	SENDER_GONE,		/* TIME_WAIT: the owner has left */
	SENDER_KERNEL,		/* the kernel's own ICMP or RST socket */
	SENDER_SOCKET,
};

struct sender {
	__u64 netns;		/* the socket's, as far as it is known */
	char comm[DNSFW_COMM];	/* of who made it, where that is known */
	__u32 pid;
	__u32 role;
	__u8 kind;		/* sender_kind */
	__u8 own;		/* one of the daemon's */
	__u8 known;		/* the role is a record's, not assumed */
	__u8 raw;		/* writes its own headers */
	__u8 listens;
	__u8 crafts;		/* raw, and certainly no socket of the kernel's */
	__u8 pad[2];
};
_Static_assert(sizeof(struct sender) % 8 == 0, "forget() goes by words");

/* A record was made by cgroup/sock_create, or written by the daemon */
static __always_inline void use_record(struct sender *s,
				       const struct dnsfw_sock *made)
{
	if (!made)
		return;
	s->role = made->role;
	s->pid = made->pid;
	__builtin_memcpy(s->comm, made->comm, sizeof(s->comm));
	s->known = 1;
	if (!s->netns)
		s->netns = made->netns;
}

static __always_inline void
look_at_sender(struct __sk_buff *skb, const struct packet *p, struct sender *s)
{
	struct bpf_sock *sk = skb->sk, *full;

	s->role = DNSFW_ROLE_HOST;
	s->netns = p->netns;
	if (!sk)
		return;
	full = bpf_sk_fullsock(sk);
	if (!full)	/* a SYN-ACK is judged as its listener */
		full = bpf_get_listener_sock(sk);
	if (!full) {
		s->kind = SENDER_GONE;
		return;
	}
	s->kind = SENDER_SOCKET;
	s->raw = full->type == KIND_RAW || full->family == FAMILY_PACKET;
	s->listens = full->state == STATE_LISTEN;
	if (socket_get(dnsfw_own, full))
		s->own = 1;
	use_record(s, socket_get(dnsfw_socks, full));
	/* the kernel's own sockets never pass sock_create */
	s->crafts = s->raw && (s->known || full->family == FAMILY_PACKET);
	/* No workload can be this: the kernel makes it, without sock_create,
	 * and a workload's raw socket has a record or another cgroup.
	 */
	if (!s->known && full->type == KIND_RAW &&
	    (full->family == FAMILY_IP4 || full->family == FAMILY_IP6) &&
	    bpf_skb_cgroup_id(skb) == ROOT_CGROUP)
		s->kind = SENDER_KERNEL;
}

static __always_inline void
find_sender(struct __sk_buff *skb, const struct packet *p, struct sender *s)
{
	look_at_sender(skb, p, s);
	forget((__u64 *)s, sizeof(*s), p->now);
}

#endif
