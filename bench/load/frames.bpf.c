// SPDX-License-Identifier: GPL-2.0
/* Queries that are made in the kernel, and their replies, counted there: the
 * only client that is faster than what it asks. `make` is run by
 * BPF_PROG_TEST_RUN with live frames (Linux 5.18); `count` stands on the device
 * that the replies come back to.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

enum {
	FRAME = 96,	/* room; the template says how long it is */
	DIGITS = 3,
	HEADERS = 14 + 20 + 8,
	ID = HEADERS,
	NAME = HEADERS + 12 + 2,	/* the digits, behind "\4n" */
	FLAGS = HEADERS + 2,
};

struct plan {
	__u32 length;
	__u32 names;	/* n000 .. */
	__u8 frame[FRAME];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plan);
} plans SEC(".maps");

/* made, replies, of these without an answer and no refusal */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

SEC("xdp")
int make(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0, number;
	struct plan *plan;
	__u64 *made;
	int i;

	plan = bpf_map_lookup_elem(&plans, &zero);
	made = bpf_map_lookup_elem(&counts, &zero);
	if (!plan || !made || !plan->names || data + FRAME > end)
		return XDP_ABORTED;
	/* a page comes back as it was left: everything is written anew */
	for (i = 0; i < FRAME; i += 8)
		*(__u64 *)(data + i) = *(__u64 *)(plan->frame + i);
	number = *made % plan->names;
	data[NAME] = '0' + number / 100;
	data[NAME + 1] = '0' + number / 10 % 10;
	data[NAME + 2] = '0' + number % 10;
	data[ID] = *made >> 8;
	data[ID + 1] = *made;
	*made += 1;
	/* shorter, to the frame's own length */
	if (bpf_xdp_adjust_tail(ctx, (int)plan->length - (int)(end - data)))
		return XDP_ABORTED;
	return XDP_TX;
}

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 replies = 1, bad = 2;
	__u64 *n;

	if (data + FLAGS + 8 > end || data[12] != 8 || data[13] || data[23] != 17)
		return XDP_PASS;
	if (data[34] || data[35] != 53)
		return XDP_PASS;
	n = bpf_map_lookup_elem(&counts, &replies);
	if (n)
		*n += 1;
	/* an answer, or NXDOMAIN: anything else was not what was asked for */
	if ((data[FLAGS + 1] & 15) != 3 && !data[FLAGS + 5]) {
		n = bpf_map_lookup_elem(&counts, &bad);
		if (n)
			*n += 1;
	}
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
