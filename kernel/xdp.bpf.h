/* SPDX-License-Identifier: GPL-2.0 */
/* On a gateway's network card, before there is a socket buffer. The role is
 * that of the device or of the source behind it, as for what is forwarded; a
 * device without a row answers nobody. Everything else passes on, to the hooks
 * that judge.
 */
#include "include/dnsfw/answers.h"

enum {
	XDP_GO_ON = 2,		/* XDP_PASS */
	XDP_BACK = 3,		/* XDP_TX */
};

/* Few frames are queries: one look at the bytes in place */
static __always_inline bool may_be_datagram(struct xdp_md *ctx, __u32 length)
{
	const __u8 *frame = (const __u8 *)(long)ctx->data;
	const __u8 *end = (const __u8 *)(long)ctx->data_end;

	if (length < ETHER_BYTES + LEAST_FRAME || length > MOST_FRAME ||
	    frame + ETHER_BYTES + IP4_BYTES > end)
		return false;
	return frame[ETHER_BYTES + 9] == PROTO_UDP ||
	       frame[ETHER_BYTES + 6] == PROTO_UDP;
}

static __always_inline bool
take_xdp(struct xdp_md *ctx, struct desk *d, __u64 length, struct query *q)
{
	if (!is_between(&length, LEAST_FRAME, MOST_FRAME) ||
	    bpf_xdp_load_bytes(ctx, 0, d->frame, length) < 0)
		return false;
	return read_datagram(d, length, ETHER_BYTES, q);
}

/* Room is where the driver left it: behind the frame, else before it. The frame
 * is written anew from its first byte on, so it may begin elsewhere.
 */
static __always_inline bool make_room(struct xdp_md *ctx, int more)
{
	return !more || !bpf_xdp_adjust_tail(ctx, more) ||
	       (more > 0 && !bpf_xdp_adjust_head(ctx, -more));
}

static __always_inline enum dnsfw_fall
give_xdp(struct xdp_md *ctx, struct desk *d, __u64 before, __u64 length)
{
	if (!make_room(ctx, (int)length - (int)before))
		return DNSFW_FALL_FAILED;
	if (!is_between(&length, LEAST_FRAME, DESK_BYTES) ||
	    bpf_xdp_store_bytes(ctx, 0, d->frame, length) < 0)
		return DNSFW_FALL_FAILED;
	return DNSFW_ANSWERED;
}

/* Every device that has guests has a row */
static __always_inline __u32
role_of_frame(const struct query *q, __u32 ifindex)
{
	__u32 device, source;

	if (!(uses() & DNSFW_USES_DEVICES))
		return DNSFW_ROLE_NONE;
	device = role_of_device(ifindex);
	if (!device)
		return DNSFW_ROLE_NONE;
	source = role_of_source(&q->src, ifindex);
	return source ? source : device;
}

PROG("xdp")
int dnsfw_answer_xdp(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data;
	enum dnsfw_fall fall;
	struct query *q;
	struct desk *d;

	if (!may_be_datagram(ctx, length))
		return XDP_GO_ON;
	d = desk_of_cpu();
	if (!d)
		return XDP_GO_ON;
	q = &d->query;
	if (!take_xdp(ctx, d, length, q))
		return XDP_GO_ON;
	q->netns = device_netns();
	if (!comes_to_us(d, q))
		return XDP_GO_ON;
	q->role = role_of_frame(q, ctx->ingress_ifindex);
	keep(q);
	fall = may_reply(d, q);
	q->partial = 0;		/* nobody completes it from here on */
	if (!fall)
		fall = dnsfw_answer_query(d);
	if (fall <= DNSFW_REFUSED && give_xdp(ctx, d, length, q->length))
		fall = DNSFW_FALL_FAILED;
	count_answer(q->role, fall);
	if (fall > DNSFW_REFUSED)
		return XDP_GO_ON;
	count_listener(q->role);
	return XDP_BACK;
}
