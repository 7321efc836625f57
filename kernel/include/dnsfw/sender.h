/* SPDX-License-Identifier: GPL-2.0 */
/* Who sends: dnsfw itself, a socket with a role, the kernel, or nobody here. */
#ifndef DNSFW_SENDER_H
#define DNSFW_SENDER_H

#include "subject.h"

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
	__u32 role;		/* as which it is judged */
	__u32 takes;		/* the role that took what it now answers */
	__u8 kind;		/* sender_kind */
	__u8 own;		/* one of the daemon's */
	__u8 known;		/* the role is a subject's, not assumed */
	__u8 raw;		/* writes its own headers */
	__u8 listens;
	__u8 crafts;		/* raw, and certainly no socket of the kernel's */
	__u8 by_way;		/* the role is that of a `via` */
	__u8 pad[5];
};
_Static_assert(sizeof(struct sender) % 8 == 0, "forget() goes by words");

/* This host's own addresses */
static __always_inline bool
is_local(__u64 netns, const struct dnsfw_addr *addr)
{
	struct dnsfw_local_key key = {};

	key.netns = netns;
	key.addr = *addr;
	return map_get(dnsfw_locals, &key) != 0;
}

static __always_inline bool keeps_locals(__u64 netns)
{
	struct dnsfw_local_key key = {};
	const __u8 *list;

	key.netns = netns;
	list = map_get(dnsfw_locals, &key);
	return list && *list == DNSFW_LIST_KEPT;
}

/* A record was made by cgroup/sock_create, written by the daemon, or below */
static __always_inline void use_record(struct sender *s,
				       const struct dnsfw_sock *made)
{
	if (!made || !made->role)
		return;
	s->role = made->role;
	s->takes = made->role;
	s->pid = made->pid;
	__builtin_memcpy(s->comm, made->comm, sizeof(s->comm));
	s->known = 1;
	if (!s->netns)
		s->netns = made->netns;
}

/* A socket that is older than the wall, or of a device's own wall: it has the
 * role of the cgroup it was made in, from now on. No process is known of it;
 * that also tells it from a workload's raw socket, for the kernel's own
 * neighbours and errors come this way (their cgroup: who made the namespace).
 */
static __always_inline const struct dnsfw_sock *
label(struct bpf_sock *sk, __u32 role)
{
	struct dnsfw_sock *made;

	made = socket_make(dnsfw_socks, sk);
	if (!made)
		return 0;
	if (!made->role)
		made->role = role ? role : DNSFW_ROLE_HOST;
	return made;
}

static __always_inline const struct dnsfw_sock *
record_of(struct __sk_buff *skb, struct bpf_sock *sk)
{
	const struct dnsfw_sock *made;

	made = socket_get(dnsfw_socks, sk);
	if ((made && made->role) || !(uses() & DNSFW_USES_CGROUPS))
		return made;
	return label(sk, role_of_skb_cgroup(skb));
}

static __always_inline void
look_at_socket(struct __sk_buff *skb, const struct packet *p, struct sender *s)
{
	struct bpf_sock *sk = skb->sk, *full;

	s->role = DNSFW_ROLE_HOST;
	s->takes = DNSFW_ROLE_HOST;
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
	use_record(s, record_of(skb, full));
	/* the kernel's own sockets never pass sock_create */
	s->crafts = s->raw && (s->pid || full->family == FAMILY_PACKET);
	/* No workload can be this: the kernel makes it, without sock_create,
	 * and a workload's raw socket has a record or another cgroup.
	 */
	if (!s->pid && full->type == KIND_RAW &&
	    (full->family == FAMILY_IP4 || full->family == FAMILY_IP6) &&
	    bpf_skb_cgroup_id(skb) == ROOT_CGROUP)
		s->kind = SENDER_KERNEL;
}

STAGE int dnsfw_look_at_socket(struct __sk_buff *skb, const struct packet *p,
			       struct sender *s)
{
	if (p && s)
		look_at_socket(skb, p, s);
	return 0;
}

static __always_inline void
look_at_sender(struct __sk_buff *skb, const struct packet *p, struct sender *s)
{
	dnsfw_look_at_socket(skb, p, s);
}

static __always_inline void
find_sender(struct __sk_buff *skb, const struct packet *p, struct sender *s)
{
	look_at_sender(skb, p, s);
	forget((__u64 *)s, sizeof(*s), p->now);
}

/* Subjects of sockets go before those of links: a bridge, and a veth's other
 * end, still show the socket that sent in another namespace.
 */
static __always_inline void
use_link(struct sender *s, const struct packet *p, __u32 ifindex)
{
	__u32 role = role_of_address(&p->src, ifindex);

	if (!role)
		return;
	s->takes = role;
	s->known = 1;
	if (s->role == DNSFW_ROLE_HOST)
		s->role = role;
}

/* At a device's egress: forwarded, or of this namespace */
static __always_inline void
find_frame_sender(struct __sk_buff *skb, const struct packet *p,
		  struct sender *s)
{
	look_at_sender(skb, p, s);
	if (p->forwarded) {
		use_link(s, p, skb->ingress_ifindex);
	} else {
		s->role = role_by_way_of(s->role, skb->ifindex);
		s->by_way = s->role != s->takes;
	}
	forget((__u64 *)s, sizeof(*s), p->now);
}

/* At the host's end of a guest's link. Nothing that it sends is the kernel's
 * or the daemon's.
 */
static __always_inline void
find_guest(struct __sk_buff *skb, const struct packet *p, struct sender *s)
{
	look_at_sender(skb, p, s);
	s->kind = SENDER_NOBODY;
	s->own = 0;
	s->crafts = 1;
	s->known = 1;
	s->takes = DNSFW_ROLE_HOST;
	use_link(s, p, skb->ifindex);
	forget((__u64 *)s, sizeof(*s), p->now);
}

#endif
