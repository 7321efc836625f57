/* SPDX-License-Identifier: GPL-2.0 */
/* suffix.h's walk by itself, for tests: one question a run, by a map */
#include "suffix.h"

struct request {
	struct dnsfw_long_key key;
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

/* What a run costs without the walk */
SEC("tc")
int dnsfw_no_walk(struct __sk_buff *skb)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dnsfw_request, &zero) ? 0 : 1;
}

char LICENSE[] SEC("license") = "GPL";
