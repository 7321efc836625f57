/* SPDX-License-Identifier: GPL-2.0 */
/* The tables, and the few forms in which the sources may touch them.
 *
 * One text, two compilers. clang + libbpf read the macros below. BCC refuses
 * SEC(".maps"), libbpf's helper header and map calls inside macros, so its
 * backend defines DNSFW_BCC, joins the headers into one text and replaces the
 * plain forms by its own before it compiles. For that to stay a plain text
 * substitution, everywhere in kernel/:
 *
 *   - a form stands on its own as a statement or right-hand side, on one or
 *     two lines, never inside another macro, and its arguments hold no
 *     parentheses;
 *   - the first argument is the table's name itself, never a variable.
 *
 *   form                               BCC
 *   MAP_HASH(n, K, V, max)             BPF_F_TABLE("hash", K, V, n, max, F)
 *                                      with F = BPF_F_NO_PREALLOC
 *   MAP_LRU(n, K, V, max)              BPF_TABLE("lru_hash", K, V, n, max)
 *   MAP_LPM(n, K, V, max)              BPF_F_TABLE("lpm_trie", K, V, n, max, F)
 *                                      with F = BPF_F_NO_PREALLOC
 *   MAP_ARRAY(n, V, max)               BPF_TABLE("array", __u32, V, n, max)
 *   MAP_PERCPU(n, V, max)              BPF_TABLE("percpu_array", __u32, V, ..)
 *   MAP_SHARED(n, V, max)              BPF_F_TABLE("array", __u32, V, n, max,
 *                                      BPF_F_MMAPABLE)
 *   MAP_STAGES(n, max)                 BPF_PROG_ARRAY(n, max)
 *   MAP_SOCKET(n, V)                   BPF_F_TABLE("sk_storage", int, V, n, 0,
 *                                      BPF_F_NO_PREALLOC | BPF_F_CLONE)
 *   MAP_RING(n, bytes)                 BPF_RINGBUF_OUTPUT(n, bytes / 4096)
 *   MAP_OF_ARRAYS(n, inner, V, max)    BPF_F_TABLE("array", __u32, V, inner,
 *                                      1, F), BPF_F_TABLE(
 *                                      "array_of_maps$inner", ..., n, max, 0):
 *                                      each inner array has a size of its own
 *   map_get(n, k)                      n.lookup(k)
 *   map_put(n, k, v)                   n.update(k, v)
 *   map_del(n, k)                      n.delete(k)
 *   stage_call(n, ctx, i)              n.call(ctx, i)
 *   socket_get(n, sk)                  n.sk_storage_get(sk, 0, 0)
 *   socket_make(n, sk)                 n.sk_storage_get(sk, 0, 1)
 *   inner_get(p, k)                    bpf_map_lookup_elem(p, k): of the array
 *                                      that map_get of the outer one gave
 *   ring_reserve(n, SIZE)              n.ringbuf_reserve(SIZE)
 *   ring_submit(n, p)                  n.ringbuf_submit(p, 0)
 *   PROG("section")                    (nothing)
 *   OPTION(name)                       (nothing; pass -DNAME_IN_CAPITALS=0|1)
 *
 * Includes are of our own headers, <linux/types.h> and <linux/bpf.h> only.
 */
#ifndef DNSFW_MAPS_H
#define DNSFW_MAPS_H

#include <linux/types.h>
#include <linux/bpf.h>

#ifndef DNSFW_BCC
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#define PROG(section) SEC(section)

#define MAP_OF(kind, name, K, V, max, how)				\
	struct {							\
		__uint(type, kind);					\
		__uint(max_entries, max);				\
		__uint(map_flags, how);					\
		__type(key, K);						\
		__type(value, V);					\
	} name SEC(".maps")

#define MAP_HASH(name, K, V, max)					\
	MAP_OF(BPF_MAP_TYPE_HASH, name, K, V, max, BPF_F_NO_PREALLOC)
#define MAP_LRU(name, K, V, max)					\
	MAP_OF(BPF_MAP_TYPE_LRU_HASH, name, K, V, max, 0)
#define MAP_LPM(name, K, V, max)					\
	MAP_OF(BPF_MAP_TYPE_LPM_TRIE, name, K, V, max, BPF_F_NO_PREALLOC)
#define MAP_ARRAY(name, V, max)						\
	MAP_OF(BPF_MAP_TYPE_ARRAY, name, __u32, V, max, 0)
#define MAP_PERCPU(name, V, max)					\
	MAP_OF(BPF_MAP_TYPE_PERCPU_ARRAY, name, __u32, V, max, 0)
#define MAP_SHARED(name, V, max)					\
	MAP_OF(BPF_MAP_TYPE_ARRAY, name, __u32, V, max, BPF_F_MMAPABLE)
#define MAP_STAGES(name, max)						\
	MAP_OF(BPF_MAP_TYPE_PROG_ARRAY, name, __u32, __u32, max, 0)
#define MAP_SOCKET(name, V)						\
	MAP_OF(BPF_MAP_TYPE_SK_STORAGE, name, int, V, 0,		\
	       BPF_F_NO_PREALLOC | BPF_F_CLONE)
#define MAP_RING(name, bytes)						\
	struct {							\
		__uint(type, BPF_MAP_TYPE_RINGBUF);			\
		__uint(max_entries, bytes);				\
	} name SEC(".maps")

#define MAP_OF_ARRAYS(name, inner, V, max)				\
	struct inner {							\
		__uint(type, BPF_MAP_TYPE_ARRAY);			\
		__uint(max_entries, 1);					\
		__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);	\
		__uint(key_size, sizeof(__u32));			\
		__uint(value_size, sizeof(V));				\
	};								\
	struct {							\
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);		\
		__uint(max_entries, max);				\
		__type(key, __u32);					\
		__array(values, struct inner);				\
	} name SEC(".maps")

#define inner_get(map, key) bpf_map_lookup_elem(map, key)
#define map_get(name, key) bpf_map_lookup_elem(&name, key)
#define map_put(name, key, value) bpf_map_update_elem(&name, key, value, BPF_ANY)
#define map_del(name, key) bpf_map_delete_elem(&name, key)
#define stage_call(name, ctx, i) bpf_tail_call(ctx, &name, i)
#define socket_get(name, sk) bpf_sk_storage_get(&name, sk, 0, 0)
#define socket_make(name, sk)						\
	bpf_sk_storage_get(&name, sk, 0, BPF_SK_STORAGE_GET_F_CREATE)
#define ring_reserve(name, size) bpf_ringbuf_reserve(&name, size, 0)
#define ring_submit(name, p) bpf_ringbuf_submit(p, 0)

/* A constant set between open and load: the verifier prunes the branch that
 * needs a helper which this kernel lacks.
 */
#define OPTION(name) const volatile __u32 name = 0
#endif /* DNSFW_BCC */

#include "abi.h"
#include "abi_dns.h"
#include "abi_flow.h"
#include "abi_suffix.h"

#ifndef DNSFW_BCC
#define HAS_NETNS_COOKIE dnsfw_has_netns_cookie
#endif

/* bpf_get_netns_cookie in skb hooks: Linux 6.15 */
OPTION(dnsfw_has_netns_cookie);

/* what a policy says; written by the daemon, read by every hook */
MAP_ARRAY(dnsfw_roles, struct dnsfw_role, DNSFW_MAX_ROLES);
MAP_HASH(dnsfw_rules, __u32, struct dnsfw_rule, DNSFW_MAX_RULES);
MAP_ARRAY(dnsfw_generation, __u32, 1);
MAP_ARRAY(dnsfw_portsets, struct dnsfw_portset, DNSFW_MAX_PORTSETS);
MAP_LPM(dnsfw_fixed, struct dnsfw_fixed_key, struct dnsfw_fixed,
	DNSFW_MAX_FIXED);

/* what names opened and closed; plain hash: an LRU would evict live grants */
MAP_HASH(dnsfw_grants, struct dnsfw_grant_key, struct dnsfw_grant,
	 DNSFW_MAX_GRANTS);

/* what has begun; written by the hooks, scanned and cut by the daemon */
MAP_LRU(dnsfw_flows, struct dnsfw_flow_key, struct dnsfw_flow,
	DNSFW_MAX_FLOWS);
MAP_LRU(dnsfw_flows_in, struct dnsfw_flow_key, struct dnsfw_flow,
	DNSFW_MAX_FLOWS_IN);
MAP_LRU(dnsfw_frags, struct dnsfw_frag_key, __u64, DNSFW_MAX_FRAGS);

/* whose a socket, or a forwarded packet, is; written by the daemon */
MAP_HASH(dnsfw_cgroups, __u64, struct dnsfw_subject, DNSFW_MAX_CGROUPS);
MAP_HASH(dnsfw_ids, struct dnsfw_id_key, __u32, DNSFW_MAX_IDS);
MAP_LPM(dnsfw_sources, struct dnsfw_source_key, __u32, DNSFW_MAX_SOURCES);
MAP_HASH(dnsfw_devices, struct dnsfw_device_key, __u32, DNSFW_MAX_DEVICES);
MAP_HASH(dnsfw_via, struct dnsfw_via_key, __u32, DNSFW_MAX_DEVICES);

/* where dnsfw itself lives */
MAP_HASH(dnsfw_listeners, struct dnsfw_listener_key, __u8,
	 DNSFW_MAX_LISTENERS);
MAP_HASH(dnsfw_locals, struct dnsfw_local_key, __u8, DNSFW_MAX_LOCALS);
MAP_ARRAY(dnsfw_settings, struct dnsfw_settings, 1);
MAP_SOCKET(dnsfw_own, __u32);
MAP_SOCKET(dnsfw_socks, struct dnsfw_sock);

/* port 53, taken over; who asks over TCP, by socket cookie */
MAP_HASH(dnsfw_doors, __u64, struct dnsfw_doors, DNSFW_MAX_NETNS);
MAP_SOCKET(dnsfw_taken, struct dnsfw_taken);
MAP_LRU(dnsfw_askers, __u64, __u32, DNSFW_MAX_ASKERS);
/* the roles whose sockets asked in other namespaces: cookie | role << 56 */
MAP_LRU(dnsfw_asked, __u64, __u8, DNSFW_MAX_ASKED);

/* answers that the kernel gives; written by the daemon */
MAP_SHARED(dnsfw_dns, struct dnsfw_dns, 1);
MAP_HASH(dnsfw_answers, __u64, struct dnsfw_answer, DNSFW_MAX_ANSWERS);
MAP_HASH(dnsfw_answers_big, __u64, struct dnsfw_answer_big,
	 DNSFW_MAX_ANSWERS_BIG);
MAP_HASH(dnsfw_answers_long, __u64, struct dnsfw_answer_long,
	 DNSFW_MAX_ANSWERS_LONG);
MAP_OF_ARRAYS(dnsfw_suffixes, dnsfw_suffix_table, struct dnsfw_bucket,
	      DNSFW_SUFFIX_TABLES);
MAP_STAGES(dnsfw_stages, DNSFW_MAX_STAGES);
MAP_PERCPU(dnsfw_falls, __u64, DNSFW_FALL_COUNT);
MAP_PERCPU(dnsfw_role_answers, struct dnsfw_role_answers, DNSFW_MAX_ROLES);

/* what happened */
MAP_RING(dnsfw_events, DNSFW_EVENTS_BYTES);
MAP_RING(dnsfw_refused, DNSFW_SUFFIX_RING_BYTES);	/* names, by suffix */
MAP_PERCPU(dnsfw_counters, struct dnsfw_counter, DNSFW_REASON_COUNT);
MAP_PERCPU(dnsfw_role_counters, struct dnsfw_counter, DNSFW_MAX_ROLES);

/* One second's allowance, a CPU: an event for each reason, then each kind of
 * upkeep. The hooks' own; nothing outside reads it.
 */
struct bucket {
	__u64 since;
	__u32 taken;
	__u32 pad;
};

enum {
	BUCKET_EVENTS = 0,
	BUCKET_UPKEEP = DNSFW_REASON_COUNT,
	BUCKET_KINDS = 16,	/* of upkeep, at most */
	BUCKET_GUESTS = BUCKET_UPKEEP + BUCKET_KINDS,
	GUEST_BUCKETS = 64,	/* guests take from one by device number */
	BUCKET_COUNT = BUCKET_GUESTS + GUEST_BUCKETS * BUCKET_KINDS,
};

MAP_PERCPU(dnsfw_buckets, struct bucket, BUCKET_COUNT);

enum {
	HEARD_COUNT = 256,
};

/* What came in by a device and is noted, a CPU: half of a hash, a jiffy */
MAP_PERCPU(dnsfw_heard, __u64, HEARD_COUNT);

/* What each role may ask on this CPU while dnsfw is behind */
MAP_PERCPU(dnsfw_shares, struct bucket, DNSFW_MAX_ROLES);

#endif
