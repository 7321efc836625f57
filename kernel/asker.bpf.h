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

enum {
	SHARE_TIME = 26,	/* 2^26 ns: 67 ms */
	SHARE_STEP = 22,	/* of which a share grows again: 4 ms */
	LEAST_SHARE = 128,	/* datagrams of a role in that time, on a CPU */
	NO_PACKET = 0,
};

/* How many each role has of them now; the daemon divides what it can answer */
MAP_ARRAY(dnsfw_allowance, __u32, 1);

static __always_inline __u32 share(void)
{
	const __u32 *allowed;
	__u32 zero = 0;

	allowed = map_get(dnsfw_allowance, &zero);
	if (!allowed || !*allowed)	/* nobody knows yet what can be answered */
		return 0;
	return *allowed > LEAST_SHARE ? *allowed : LEAST_SHARE;
}

/* What was taken is forgotten step by step: all at once it would let the whole
 * share of 67 ms into the queue at their beginning, which has no room for it,
 * and the reader would have nothing to do at their end.
 */
static __always_inline void let_grow(struct bucket *b, __u64 step, __u32 all)
{
	__u64 steps = step - b->since, back;

	if (!steps)
		return;
	b->since = step;
	back = steps < 1 << (SHARE_TIME - SHARE_STEP) ?
		steps * all >> (SHARE_TIME - SHARE_STEP) : all;
	b->taken = b->taken > back ? b->taken - back : 0;
}

/* While a listener is behind, what one role sends past its share never reaches
 * the queue that all of them wait in: on the flooder's own CPU time.
 */
PROG("socket")
int dnsfw_share(struct __sk_buff *skb)
{
	__u64 step = bpf_ktime_get_boot_ns() >> SHARE_STEP;
	__u32 role = skb->mark < DNSFW_MAX_ROLES ? skb->mark : 0;
	__u32 reason = DNSFW_ASKER_RATE;
	__u32 all = share();
	struct dnsfw_counter *c;
	struct bucket *b;

	b = map_get(dnsfw_shares, &role);
	if (!b || !all)
		return WHOLE_PACKET;
	let_grow(b, step, all);
	if (b->taken < all) {
		b->taken++;
		return WHOLE_PACKET;
	}
	c = map_get(dnsfw_counters, &reason);
	if (c)
		__sync_fetch_and_add(&c->denied, 1);
	return NO_PACKET;
}
