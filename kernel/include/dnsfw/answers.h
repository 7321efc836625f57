/* SPDX-License-Identifier: GPL-2.0 */
/* From a query on the desk to its reply in the same place. The daemon wrote the
 * reply's bytes (datapath/answers.py); here they get the query's id, question
 * and flags, TTLs of now, an OPT if the query had one, and headers with their
 * checksums: what wire/reply.py's Template.render makes.
 */
#ifndef DNSFW_ANSWERS_H
#define DNSFW_ANSWERS_H

#include "entry.h"
#include "refuse.h"
#include "reply.h"

enum {
	OPT_MASK = 255,		/* an OPT with the longest Extended DNS Error */
	NOT_OURS = DNSFW_FALL_COUNT,
};

static __always_inline enum dnsfw_fall
find_answer(struct desk *d, struct query *q, const struct dnsfw_dns *dns,
	    __u64 now)
{
	enum dnsfw_fall found;

	found = find_entry(d, q, dns->seal_seed);
	keep(d);
	if (!found && has_ended(d->head.until, now))
		found = DNSFW_FALL_EXPIRED;
	else if (!found && d->head.epoch != dns->epoch)
		found = DNSFW_FALL_EPOCH;
	if (!found)
		return DNSFW_ANSWERED;
	if (!refuse_by_suffix(d, q, dns, now))
		return found;
	/* a template belongs to its table of refusals, and to no epoch */
	return find_small(d, q, dns->seal_seed);
}

/* The TTLs of @seconds later, none below 0 */
static __always_inline void
age_ttls(struct desk *d, __u64 end, __u32 seconds)
{
	__u64 ttls = d->head.ttls, at, i;
	__u32 ttl;

#pragma clang loop unroll(disable)
	for (i = 0; i < DNSFW_BIG_TTLS; i++) {
		plain(i);
		if (i >= ttls)
			break;
		at = d->ttl_at[i];
		if (at > DNSFW_BIG_DATA - 4)
			break;
		ttl = host32(at32(d->frame + end + at));
		ttl = ttl > seconds ? ttl - seconds : 0;
		at32(d->frame + end + at) = host32(ttl);
	}
}

/* Truncated: the OPT moves to where the records were, forward word by word,
 * which is right because they are longer than a word.
 */
static __always_inline void
drop_records(struct desk *d, __u64 end, __u64 tail)
{
	__u64 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < (OPT_MASK + 1) / 8; i++) {
		plain(i);
		at64(d->frame + end + i * 8) =
			at64(d->frame + end + tail + i * 8);
	}
}

/* What stands behind the question becomes the reply's; returns the message's
 * bytes.
 */
static __always_inline __u32
finish_message(struct desk *d, const struct query *q, __u64 now)
{
	__u64 answers = d->head.answers, authority = d->head.authority;
	__u64 end = within(q->end, QUESTION_END_MASK), tail, opt;
	__u64 dns = within(q->dns, HEAD_MASK), question = end - dns;
	__u8 *head = d->frame + dns;
	__u16 flags;

	tail = within(d->head.tail, REPLY_MASK);
	opt = q->opt ? within(d->head.opt, OPT_MASK) : 0;
	flags = (q->opt ? d->head.flags : d->head.bare_flags) |
		(q->flags & (DNS_RD | DNS_CD));
	if (d->head.ad && (q->dnssec || (q->flags & DNS_AD)))
		flags |= DNS_AD;
	if (question + tail + opt > q->limit) {
		flags |= DNS_TC;
		drop_records(d, end, tail);
		answers = authority = tail = 0;
	} else if (d->head.ttls) {
		age_ttls(d, end, age_of(d->head.born, now));
	}
	if (q->dnssec)
		d->frame[end + tail + 7] |= OPT_DO;
	at16(head + 2) = host16(flags);
	at16(head + 6) = host16(answers);
	at16(head + 8) = host16(authority);
	return question + tail + opt;
}

/* A listener of ours has the address */
static __always_inline bool is_listener(const struct query *q)
{
	struct dnsfw_listener_key key = {};

	key.netns = q->netns;
	key.addr = q->dst;
	key.port = q->dport;
	return map_get(dnsfw_listeners, &key) != 0;
}

/* A wildcard's addresses are those of this host */
static __always_inline bool is_wildcard(const struct query *q)
{
	struct dnsfw_listener_key key = {};

	key.netns = q->netns;
	key.port = q->dport;
	return map_get(dnsfw_listeners, &key) != 0;
}

/* From a wire, as comes_to_listener() */
static __always_inline bool
comes_to_us(struct desk *d, const struct query *q)
{
	const struct dnsfw_settings *set = settings();
	__u64 tick = bpf_jiffies64();
	struct remembered *here;

	if (!set || q->dport != set->dns_port || is_loopback(&q->dst))
		return false;
	here = &d->listeners[slot_for(&q->dst) & (REMEMBERED - 1)];
	if (is_remembered(here, tick, q->netns, &q->dst))
		return true;
	if (!is_listener(q) &&
	    !(is_wildcard(q) && is_local(q->netns, &q->dst)))
		return false;
	remember(here, tick, q->netns, &q->dst);
	return true;
}

/* Not one of this host's own addresses */
static __always_inline bool
is_stranger(struct desk *d, const struct query *q)
{
	__u64 tick = bpf_jiffies64();
	struct remembered *here;

	here = &d->strangers[slot_for(&q->src) & (REMEMBERED - 1)];
	if (is_remembered(here, tick, q->netns, &q->src))
		return true;
	if (is_local(q->netns, &q->src))
		return false;
	remember(here, tick, q->netns, &q->src);
	return true;
}

/* 0.0.0.0/8, 127.0.0.0/8, groups; ::/16, groups */
static __always_inline bool answers_nobody(const struct query *q)
{
	__u8 first = q->family == 4 ? q->src.b[12] : q->src.b[0];

	if (q->family == 4)
		return !first || first == 127 || first >= 224;
	return first == 0xff || (!first && !q->src.b[1]);
}

/* Nobody has looked at it yet, and what is wrong there may be an address */
static __always_inline bool has_whole_header(const struct desk *d, __u64 ip)
{
	const word64 *words = (const word64 *)(d->frame + within(ip, IP_MASK));
	const word32 *dst = (const word32 *)(words + 2);

	return fold_sum(add_words(add_words(*dst, words[0]), words[1])) ==
	       0xffff;
}

/* From a wire: a frame of one sender, whole. `host` is whoever has no subject
 * there: a neighbour, or a stranger with any address (ATTACKS 104), which the
 * daemon tells apart. A sender whose own device or peer completes checksums
 * (veth) has only begun this one, and gets a reply with one that is begun, too.
 */
static __always_inline enum dnsfw_fall
may_reply(struct desk *d, struct query *q)
{
	__u64 pseudo, at, bytes;

	if ((q->ip && ((d->frame[0] | d->frame[6]) & 1)) || answers_nobody(q) ||
	    q->role == DNSFW_ROLE_HOST || !is_stranger(d, q))
		return DNSFW_FALL_SOURCE;
	if (q->family == 4 && !has_whole_header(d, q->ip))
		return DNSFW_FALL_CHECKSUM;
	if (!q->check)
		return q->family == 4 ? DNSFW_ANSWERED : DNSFW_FALL_CHECKSUM;
	at = within(q->dns - UDP_BYTES, HEAD_MASK);
	bytes = within(q->bytes, QUERY_MASK) + UDP_BYTES;
	pseudo = pseudo_sum(q, bytes);
	pad_zeros(d, at + bytes);
	if (fold_sum(pseudo + sum_of(d, at, bytes)) == 0xffff)
		return DNSFW_ANSWERED;
	q->partial = q->check == fold_sum(pseudo);
	keep(d);
	return q->partial ? DNSFW_ANSWERED : DNSFW_FALL_CHECKSUM;
}

/* The role may ask: somebody set it, and nothing is locked down */
static __always_inline enum dnsfw_fall may_ask(__u32 role)
{
	const struct dnsfw_role *row;

	row = map_get(dnsfw_roles, &role);
	if (!row || !role || !row->configured)
		return DNSFW_FALL_ROLE;
	return row->lockdown ? DNSFW_FALL_LOCKDOWN : DNSFW_ANSWERED;
}

/* What became of a query to us */
static __always_inline void
count_answer(__u32 role, __u32 fall)
{
	struct dnsfw_role_answers *mine;
	__u64 *count;

	if (fall == NOT_OURS)
		return;
	count = map_get(dnsfw_falls, &fall);
	if (count)
		*count += 1;
	mine = map_get(dnsfw_role_answers, &role);
	if (!mine)
		return;
	if (fall == DNSFW_ANSWERED)
		mine->answered++;
	else if (fall == DNSFW_REFUSED)
		mine->refused++;
	else
		mine->fell++;
}

/* What was answered before it was judged, as report() counts it. Without a
 * lock: nothing that counts on this CPU comes between with bottom halves off.
 */
static __always_inline void count_listener(__u32 role)
{
	__u32 reason = DNSFW_LISTENER;
	struct dnsfw_counter *c;

	c = map_get(dnsfw_role_counters, &role);
	if (c)
		c->allowed++;
	c = map_get(dnsfw_counters, &reason);
	if (c)
		c->allowed++;
}

/* The query on the desk is to us and q->role's. Its reply takes its place, and
 * q->length becomes the frame's. Returns a dnsfw_fall.
 */
STAGE int dnsfw_answer_query(struct desk *d)
{
	const struct dnsfw_dns *dns;
	enum dnsfw_fall fall;
	struct query *q;
	__u64 bytes, now;

	if (!d)
		return DNSFW_FALL_OFF;
	q = &d->query;
	dns = dns_settings();
	if (!dns || !dns->answers)
		return DNSFW_FALL_OFF;
	fall = may_ask(q->role);
	if (fall)
		return fall;
	fall = read_query(d, q, dns);
	if (fall)
		return fall;
	now = about_now(d);
	fall = find_answer(d, q, dns, now);
	if (fall)
		return fall;
	bytes = finish_message(d, q, now);
	keep(d);
	bytes = within(bytes, REPLY_MASK);
	q->length = finish_frame(d, q, bytes);
	return d->head.refusal ? DNSFW_REFUSED : DNSFW_ANSWERED;
}

#endif
