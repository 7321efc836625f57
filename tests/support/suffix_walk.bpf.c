/* SPDX-License-Identifier: GPL-2.0 */
/* suffix.h's walk by itself, for tests: one question a run, by a map */
#include "suffix.h"

struct request {
	struct dnsfw_question key;
	__u64 found;		/* of find_refusal() */
	__u32 number;
	__u32 pad;
};
MAP_ARRAY(dnsfw_request, struct request, 1);

SEC("tc")
int dnsfw_walk(struct __sk_buff *skb)
{
	struct request *request;
	__u32 zero = 0;

	request = bpf_map_lookup_elem(&dnsfw_request, &zero);
	if (!request)
		return 0;
	request->found = find_refusal(&request->key, request->number);
	return 0;
}

/* Many questions in one run: as a flood of names that are not in any cache */
MAP_ARRAY(dnsfw_flood, struct dnsfw_question, 65536);

struct flood {
	__u32 number;
	__u32 refused;
};

static long ask_one(__u32 index, void *context)
{
	struct flood *flood = context;
	struct dnsfw_question *key;

	key = bpf_map_lookup_elem(&dnsfw_flood, &index);
	if (key && find_refusal(key, flood->number))
		flood->refused++;
	return 0;
}

SEC("tc")
int dnsfw_walk_all(struct __sk_buff *skb)
{
	struct request *request;
	struct flood flood = {};
	__u32 zero = 0;

	request = bpf_map_lookup_elem(&dnsfw_request, &zero);
	if (!request)
		return 0;
	flood.number = request->number;
	bpf_loop(65536, ask_one, &flood, 0);
	request->found = flood.refused;
	return 0;
}

/* What a run costs without the walk */
SEC("tc")
int dnsfw_no_walk(struct __sk_buff *skb)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dnsfw_request, &zero) ? 0 : 1;
}

char LICENSE[] SEC("license") = "GPL";
