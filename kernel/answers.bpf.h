/* SPDX-License-Identifier: GPL-2.0 */
/* Queries that were asked before are answered here, before the daemon wakes.
 * Each program knows one way in and the same way back; what it does not answer
 * it leaves as it was.
 */
#include "include/dnsfw/answers.h"
#include "include/dnsfw/frame.h"
#include "include/dnsfw/stages.h"

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

	fall = take_frame(skb, d, ETHER_BYTES, q);
	if (fall == NOT_OURS || !q->role || q->role >= DNSFW_MAX_ROLES)
		return fall ? NOT_OURS : DNSFW_FALL_ROLE;
	if (fall)
		return fall;
	q->netns = netns_of(skb, true);
	if (!is_listener(q) && !is_wildcard(q))
		return NOT_OURS;
	fall = dnsfw_answer_query(d);
	if (fall > DNSFW_REFUSED)
		return fall;
	return give_frame(skb, d, q->length) ? DNSFW_FALL_FAILED : fall;
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

/* As find_guest() finds it */
static __always_inline __u32
role_of_guest(struct __sk_buff *skb, const struct query *q)
{
	const struct dnsfw_sock *made = 0;
	struct bpf_sock *sk = skb->sk;
	__u32 role;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (sk)
		made = record_of(skb, sk);
	if (made && made->role > DNSFW_ROLE_HOST)
		return made->role;
	role = role_of_address(&q->src, skb->ifindex);
	return role ? role : DNSFW_ROLE_HOST;
}

/* From a guest's link, before it is judged: what is answered here would have
 * been a query to us there, by the same tables, and is counted as such.
 */
static __always_inline enum dnsfw_fall
answer_guest(struct __sk_buff *skb, struct desk *d, struct query *q,
	     const __u32 ip)
{
	enum dnsfw_fall fall;

	if (take_frame(skb, d, ip, q))
		return NOT_OURS;
	q->netns = device_netns();
	if (!comes_to_us(d, q))
		return NOT_OURS;
	q->role = role_of_guest(skb, q);
	keep(q);
	fall = may_reply(d, q);
	if (!fall)
		fall = dnsfw_answer_query(d);
	if (fall <= DNSFW_REFUSED && give_frame(skb, d, d->query.length))
		fall = DNSFW_FALL_FAILED;
	count_answer(q->role, fall);
	if (fall <= DNSFW_REFUSED)
		count_listener(q->role);
	return fall;
}

/* It goes back by the device that it came by, or to who judges it */
PROG("tc")
int dnsfw_answer_in(struct __sk_buff *skb)
{
	struct desk *d = desk_of_cpu();

	if (d && answer_guest(skb, d, &d->query, ETHER_BYTES) <= DNSFW_REFUSED) {
		skb->mark = DNSFW_MARK_ANSWERED;
		return bpf_redirect(skb->ifindex, TO_EGRESS);
	}
	if (take_way_back(skb) == DNSFW_STAGE_BACK_EDGE)
		stage_call(dnsfw_stages, skb, DNSFW_STAGE_BACK_EDGE);
	else
		stage_call(dnsfw_stages, skb, DNSFW_STAGE_BACK);
	return TC_DROP;		/* nobody judged it */
}

PROG("tc")
int dnsfw_answer_in_l3(struct __sk_buff *skb)
{
	struct desk *d = desk_of_cpu();

	if (d && answer_guest(skb, d, &d->query, 0) <= DNSFW_REFUSED) {
		skb->mark = DNSFW_MARK_ANSWERED;
		return bpf_redirect(skb->ifindex, TO_EGRESS);
	}
	if (take_way_back(skb) == DNSFW_STAGE_BACK_EDGE_L3)
		stage_call(dnsfw_stages, skb, DNSFW_STAGE_BACK_EDGE_L3);
	else
		stage_call(dnsfw_stages, skb, DNSFW_STAGE_BACK_L3);
	return TC_DROP;
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
	struct desk *d;

	if (skb->len > MOST_FRAME)
		return TC_NEXT;
	d = desk_of_cpu();
	if (!d || take_frame(skb, d, ETHER_BYTES, &d->query))
		return TC_NEXT;
	d->query.netns = device_netns();
	if (!comes_to_us(d, &d->query))
		return TC_NEXT;
	d->query.role = role_inside(skb);
	fall = dnsfw_answer_query(d);
	if (fall <= DNSFW_REFUSED && give_frame(skb, d, d->query.length))
		fall = DNSFW_FALL_FAILED;
	count_answer(d->query.role, fall);
	if (fall > DNSFW_REFUSED)
		return TC_NEXT;
	skb->mark = 0;
	return bpf_redirect(skb->ifindex, TO_INGRESS);
}
