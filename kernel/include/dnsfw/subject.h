/* SPDX-License-Identifier: GPL-2.0 */
/* Whose is it? The order is enrolled, deepest cgroup, executable, uid, gid for
 * sockets; source prefix, then device, for what is forwarded; `host` is what
 * is left. settings.uses says which tables are worth a look: a policy without
 * subjects pays nothing.
 *
 * The uid is the real one, as the first user namespace counts: a process can
 * make itself root of a namespace, and bpf_get_socket_uid believes it.
 */
#ifndef DNSFW_SUBJECT_H
#define DNSFW_SUBJECT_H

#include "parse.h"

static __always_inline __u16 uses(void)
{
	const struct dnsfw_settings *s = settings();

	return s ? s->uses : 0;
}

/* Walks from the root down: of equal rank the deepest wins. One load, for a
 * row may be another's while it is read.
 */
static __always_inline void
climb(struct dnsfw_subject *best, __u64 cgroup)
{
	const struct dnsfw_subject *found;
	struct dnsfw_subject here;
	__u64 word;

	found = map_get(dnsfw_cgroups, &cgroup);
	if (!found)
		return;
	word = *(const volatile __u64 *)found;
	__builtin_memcpy(&here, &word, sizeof(here));
	if (here.rank >= best->rank)
		*best = here;
}

/* Of the process that runs this hook; DNSFW_ROLE_NONE: no subject */
static __always_inline __u32 role_of_task_cgroup(void)
{
	struct dnsfw_subject best = {};
	__u64 id;
	int i;

	if (!(uses() & DNSFW_USES_CGROUPS))
		return DNSFW_ROLE_NONE;
	for (i = 0; i < DNSFW_CGROUP_DEPTH; i++) {
		id = bpf_get_current_ancestor_cgroup_id(i);
		if (!id)
			break;
		climb(&best, id);
	}
	return best.role;
}

/* Of the socket that sends @skb, or takes it: where it was made */
static __always_inline __u32 role_of_skb_cgroup(struct __sk_buff *skb)
{
	struct dnsfw_subject best = {};
	__u64 id;
	int i;

	for (i = 0; i < DNSFW_CGROUP_DEPTH; i++) {
		id = bpf_skb_ancestor_cgroup_id(skb, i);
		if (!id)
			break;
		climb(&best, id);
	}
	return best.role;
}

static __always_inline __u32 role_of_ids(void)
{
	struct dnsfw_id_key key = {};
	const __u32 *role;
	__u64 ids;

	if (!(uses() & DNSFW_USES_IDS))
		return DNSFW_ROLE_NONE;
	ids = bpf_get_current_uid_gid();
	key.kind = DNSFW_ID_USER;
	key.id = (__u32)ids;
	role = map_get(dnsfw_ids, &key);
	if (role)
		return *role;
	key.kind = DNSFW_ID_GROUP;
	key.id = ids >> 32;
	role = map_get(dnsfw_ids, &key);
	return role ? *role : DNSFW_ROLE_NONE;
}

/* Of the process that makes a socket */
static __always_inline __u32 role_of_task(void)
{
	__u32 role = role_of_task_cgroup();

	if (!role)
		role = role_of_ids();
	return role ? role : DNSFW_ROLE_HOST;
}

/* Devices belong to the namespace that dnsfw guards, whoever sends by them */
static __always_inline __u64 device_netns(void)
{
	const struct dnsfw_settings *s;

	if (!HAS_NETNS_COOKIE)
		return 0;
	s = settings();
	return s ? s->netns : 0;
}

/* The role of a guest's device. Each device that has the guest hooks has a
 * row: what no subject names is `host` there.
 */
static __always_inline __u32 role_of_device(__u32 ifindex)
{
	struct dnsfw_device_key key = {};
	const __u32 *role;

	key.netns = device_netns();
	key.ifindex = ifindex;
	role = map_get(dnsfw_devices, &key);
	return role ? *role : DNSFW_ROLE_NONE;
}

/* The role of a source prefix. One with its device goes before one without, or
 * a guest would become another by taking its address.
 */
static __always_inline __u32
role_of_source(const struct dnsfw_addr *addr, __u32 ifindex)
{
	struct dnsfw_source_key key;
	const __u32 *role;

	if (!(uses() & DNSFW_USES_SOURCES))
		return DNSFW_ROLE_NONE;
	key.prefixlen = 32 + 128;
	key.ifindex = ifindex;
	key.addr = *addr;
	role = map_get(dnsfw_sources, &key);
	key.ifindex = 0;
	if (!role)
		role = map_get(dnsfw_sources, &key);
	return role ? *role : DNSFW_ROLE_NONE;
}

/* Of who has @addr behind the device @ifindex; DNSFW_ROLE_NONE: no subject */
static __always_inline __u32
role_of_address(const struct dnsfw_addr *addr, __u32 ifindex)
{
	__u32 role = role_of_source(addr, ifindex);

	if (role || !(uses() & DNSFW_USES_DEVICES))
		return role;
	return role_of_device(ifindex);
}

/* The role that @role has where it leaves by @ifindex; its own if no subject
 * says otherwise
 */
static __always_inline __u32 role_by_way_of(__u32 role, __u32 ifindex)
{
	struct dnsfw_via_key key;
	const __u32 *other;

	if (!(uses() & DNSFW_USES_VIA))
		return role;
	key.netns = device_netns();
	key.ifindex = ifindex;
	key.role = role;
	other = map_get(dnsfw_via, &key);
	return other ? *other : role;
}

#endif
