/* SPDX-License-Identifier: GPL-2.0 */
/* Queries that were asked before are answered here, before the daemon wakes.
 * Each program knows one way in and the same way back; what it does not answer
 * it leaves as it was.
 */
#include "include/dnsfw/answers.h"
#include "include/dnsfw/frame.h"

enum {
	TO_EGRESS = 0,
	TO_INGRESS = 1,		/* BPF_F_INGRESS */
};

/* The frame, onto the desk. NOT_OURS: it is TCP, or cannot be to a listener. */
static __always_inline enum dnsfw_fall
take_frame(struct __sk_buff *skb, struct desk *d, const __u32 ip,
	   struct query *q)
{
	__u64 length = skb->len, taken;

	taken = length > MOST_FRAME ? MOST_FRAME : length;
	if (!is_between(&taken, LEAST_FRAME, MOST_FRAME) ||
	    bpf_skb_load_bytes(skb, 0, d->frame, taken) < 0)
		return NOT_OURS;
	if (proto_of(d, ip) == PROTO_TCP)
		return NOT_OURS;
	if (length > MOST_FRAME || skb->vlan_present ||
	    !read_datagram(d, length, ip, q))
		return DNSFW_FALL_SHAPE;
	return DNSFW_ANSWERED;
}

/* The reply, from the desk into the packet */
static __always_inline enum dnsfw_fall
give_frame(struct __sk_buff *skb, struct desk *d, __u64 length)
{
	if (length != skb->len && bpf_skb_change_tail(skb, length, 0) < 0)
		return DNSFW_FALL_FAILED;
	if (!is_between(&length, LEAST_FRAME, DESK_BYTES) ||
	    bpf_skb_store_bytes(skb, 0, d->frame, length, 0) < 0)
		return DNSFW_FALL_FAILED;
	return DNSFW_ANSWERED;
}

/* A query on lo is marked with its role by the hook that judged it, cg_egress
 * or tc_lo. In a namespace that is not ours its root writes marks as he likes;
 * there the socket's own record speaks, which he cannot write.
 */
static __always_inline __u32 role_on_lo(struct __sk_buff *skb)
{
	const struct dnsfw_settings *set;
	const struct dnsfw_sock *made;
	struct bpf_sock *sk = skb->sk;

	if (!HAS_NETNS_COOKIE)
		return skb->mark;
	set = settings();
	if (!set || !sk)
		return DNSFW_ROLE_NONE;
	if (bpf_get_netns_cookie(skb) == set->netns)
		return skb->mark;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return DNSFW_ROLE_NONE;
	made = socket_get(dnsfw_socks, sk);
	if (!made || (made->role == DNSFW_ROLE_HOST && set->only_netns))
		return DNSFW_ROLE_NONE;
	return made->role;
}

/* On lo of the namespace of who asks */
static __always_inline enum dnsfw_fall
answer_on_lo(struct __sk_buff *skb, struct desk *d, struct query *q)
{
	enum dnsfw_fall fall;
	__u32 length = 0;

	fall = take_frame(skb, d, ETHER_BYTES, q);
	if (fall == NOT_OURS || !q->role || q->role >= DNSFW_MAX_ROLES)
		return fall ? NOT_OURS : DNSFW_FALL_ROLE;
	if (fall)
		return fall;
	q->netns = netns_of(skb, true);
	if (!is_listener(q, true))
		return NOT_OURS;
	fall = answer_query(d, q, ETHER_BYTES, &length);
	if (fall > DNSFW_REFUSED)
		return fall;
	return give_frame(skb, d, length) ? DNSFW_FALL_FAILED : fall;
}

/* TC egress on lo: what goes on from here comes back in, as the answer */
PROG("tc")
int dnsfw_answer_lo(struct __sk_buff *skb)
{
	enum dnsfw_fall fall;
	struct desk *d;

	if (!skb->mark)		/* no hook took it for a query to us */
		return TC_NEXT;
	d = desk_of_cpu();
	if (!d)
		return TC_NEXT;
	d->query.role = role_on_lo(skb);
	fall = answer_on_lo(skb, d, &d->query);
	count_answer(d->query.role, fall);
	if (fall <= DNSFW_REFUSED)
		skb->mark = 0;
	return TC_NEXT;
}

/* What judge_guest() found to be a query to us, with its role in the mark. It
 * goes back by the device that it came by.
 */
static __always_inline int answer_guest(struct __sk_buff *skb, const __u32 ip)
{
	struct desk *d = desk_of_cpu();
	enum dnsfw_fall fall;
	__u32 length = 0;

	if (!d || skb->mark >= DNSFW_MAX_ROLES)
		return TC_NEXT;
	d->query.role = skb->mark;
	fall = take_frame(skb, d, ip, &d->query);
	if (!fall)
		fall = may_reply(d, &d->query, ip);
	if (!fall)
		fall = answer_query(d, &d->query, ip, &length);
	if (fall <= DNSFW_REFUSED && give_frame(skb, d, length))
		fall = DNSFW_FALL_FAILED;
	count_answer(d->query.role, fall);
	if (fall > DNSFW_REFUSED)
		return TC_NEXT;
	skb->mark = DNSFW_MARK_ANSWERED;
	return bpf_redirect(skb->ifindex, TO_EGRESS);
}

PROG("tc")
int dnsfw_answer_in(struct __sk_buff *skb)
{
	return answer_guest(skb, ETHER_BYTES);
}

PROG("tc")
int dnsfw_answer_in_l3(struct __sk_buff *skb)
{
	return answer_guest(skb, 0);
}

/* Inside a guest's namespace: the role of its socket, else the one that the
 * daemon wrote for this device there. Marks prove nothing.
 */
static __always_inline __u32 role_inside(struct __sk_buff *skb)
{
	struct dnsfw_device_key key = {};
	const struct dnsfw_sock *made = 0;
	struct bpf_sock *sk = skb->sk;
	const __u32 *role;

	if (!HAS_NETNS_COOKIE || !sk || skb->ingress_ifindex)
		return DNSFW_ROLE_NONE;
	key.netns = bpf_get_netns_cookie(skb);
	key.ifindex = skb->ifindex;
	role = map_get(dnsfw_devices, &key);
	if (!role)
		return DNSFW_ROLE_NONE;
	sk = bpf_sk_fullsock(sk);
	if (sk)
		made = socket_get(dnsfw_socks, sk);
	return made && made->role > DNSFW_ROLE_HOST ? made->role : *role;
}

/* TC egress in a guest's namespace: the answer comes in by the same device */
PROG("tc")
int dnsfw_answer_inside(struct __sk_buff *skb)
{
	enum dnsfw_fall fall;
	__u32 length = 0;
	struct desk *d;

	if (skb->len > MOST_FRAME)
		return TC_NEXT;
	d = desk_of_cpu();
	if (!d || take_frame(skb, d, ETHER_BYTES, &d->query))
		return TC_NEXT;
	d->query.netns = device_netns();
	if (!comes_to_us(&d->query))
		return TC_NEXT;
	d->query.role = role_inside(skb);
	fall = answer_query(d, &d->query, ETHER_BYTES, &length);
	if (fall <= DNSFW_REFUSED && give_frame(skb, d, length))
		fall = DNSFW_FALL_FAILED;
	count_answer(d->query.role, fall);
	if (fall > DNSFW_REFUSED)
		return TC_NEXT;
	skb->mark = 0;
	return bpf_redirect(skb->ifindex, TO_INGRESS);
}
