/* SPDX-License-Identifier: GPL-2.0 */
/* The only definition of what C and Python share: gen_abi.py writes
 * dnsfw/datapath/abi.py from this file's types in the built object's BTF.
 * Every struct crosses the boundary in a map or in the ring buffer, so each
 * size is asserted and each hole is a named, zeroed field. Deadlines are
 * CLOCK_BOOTTIME nanoseconds. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d.
 * Ports are host byte order.
 */
#ifndef DNSFW_ABI_H
#define DNSFW_ABI_H

#include <linux/types.h>

/* Raised when a pinned map of an older build can no longer be adopted. */
enum dnsfw_abi {
	DNSFW_ABI_VERSION = 4,
};

enum dnsfw_limit {
	DNSFW_SLOTS = 4,		/* rules that share an address */
	DNSFW_PORT_RANGES = 16,		/* ranges in one portset */
	DNSFW_FIXED_ENTRIES = 16,	/* address rules that cover one prefix */
	DNSFW_MAX_ROLES = 256,
	DNSFW_MAX_RULES = 65536,
	DNSFW_MAX_PORTSETS = 4096,
	DNSFW_MAX_GRANTS = 262144,
	DNSFW_MAX_FIXED = 65536,
	DNSFW_MAX_FLOWS = 65536,	/* LRU tables are whole from the start: 9 MB */
	DNSFW_MAX_FLOWS_IN = 32768,
	DNSFW_MAX_FRAGS = 4096,
	DNSFW_MAX_LISTENERS = 4096,	/* a namespace has a dozen */
	DNSFW_MAX_NETNS = 256,		/* in which dnsfw has doors */
	DNSFW_DOORS = 4,		/* servers that one socket may ask */
	DNSFW_MAX_ASKERS = 4096,	/* connections; the daemon holds 512 */
	DNSFW_MAX_ASKED = 4096,		/* 16 roles in each namespace with doors */
	DNSFW_MAX_CGROUPS = 4096,
	DNSFW_MAX_IDS = 4096,
	DNSFW_MAX_SOURCES = 4096,
	DNSFW_MAX_DEVICES = 1024,
	DNSFW_CGROUP_DEPTH = 16,	/* levels of ancestors looked at */
	DNSFW_MAX_LOCALS = 4096,
	DNSFW_EVENTS_BYTES = 262144,	/* 3,276: a second of 30 busy CPUs */
	DNSFW_COMM = 16,
};

/* Role 0 is "nobody said": no mark, no record. It is never a policy. */
enum dnsfw_role_id {
	DNSFW_ROLE_NONE = 0,
	DNSFW_ROLE_HOST = 1,	/* everything unassigned */
	DNSFW_ROLE_PROBE = 2,	/* the daemon's own self-test, default deny */
	DNSFW_ROLE_FIRST = 16,	/* first role a policy may name */
};

/* Rules that no policy wrote; a policy's ids start at DNSFW_RULE_FIRST. */
enum dnsfw_rule_id {
	DNSFW_RULE_NONE = 0,
	DNSFW_RULE_DEFAULT = 1,	/* a name that only the default speaks for */
	DNSFW_RULE_BUILTIN = 2,	/* metadata services */
	DNSFW_RULE_PROBE = 3,
	DNSFW_RULE_FIRST = 256,
};

enum dnsfw_verdict {
	DNSFW_DENY = 0,
	DNSFW_ALLOW = 1,
};

enum dnsfw_mode {
	DNSFW_ENFORCE = 0,
	DNSFW_AUDIT = 1,
};

/* Why. The order of judgement, then the shapes that are malformed. The DNS
 * path uses the same words (from DNSFW_BY_NAME on).
 */
enum dnsfw_reason {
	DNSFW_BY_NOTHING = 0,
	/* judged, in order */
	DNSFW_OWN_SOCKET,	/* the daemon's own */
	DNSFW_UPKEEP,		/* what a host needs to live */
	DNSFW_UPKEEP_RATE,	/* upkeep past its rate */
	DNSFW_LOCKDOWN,
	DNSFW_LISTENER,		/* a query to dnsfw itself */
	DNSFW_LOOPBACK,
	DNSFW_LOOPBACK_OTHER,	/* a listener of another role */
	DNSFW_FLOW,		/* a conversation begun when it was allowed */
	DNSFW_INBOUND,		/* a reply to an accepted conversation */
	DNSFW_ADDRESS_RULE,
	DNSFW_BUILTIN,		/* metadata */
	DNSFW_CLOSED,		/* a closing grant: address of a denied name */
	DNSFW_GRANTED,		/* an opening grant */
	DNSFW_WRONG_PORT,	/* granted, but not for this port or protocol */
	DNSFW_EXPIRED,		/* granted once, the deadline is past */
	DNSFW_NEVER_RESOLVED,	/* resolved_only, or default deny: unknown address */
	DNSFW_DEFAULT,
	DNSFW_OTHER_NETNS,	/* a socket of a namespace that is not ours */
	DNSFW_AUDITED,		/* refused, but mode audit lets it pass */
	DNSFW_JUDGED,		/* a guest's frame, judged when it came in */
	DNSFW_TAKEN,		/* a query for another server, sent to dnsfw */
	DNSFW_NO_DOOR,		/* ... from a namespace where dnsfw has no socket */
	DNSFW_BOUND,		/* ... of a socket bound to an interface */
	DNSFW_BIND,		/* the role may not listen there */
	/* malformed, always denied */
	DNSFW_SHORT,		/* a header is cut */
	DNSFW_ETHERTYPE,	/* not ARP, IPv4, IPv6 */
	DNSFW_VLAN_DEEP,	/* more than two tags */
	DNSFW_BAD_IP,		/* version or header length lies */
	DNSFW_SOURCE_ROUTE,	/* LSRR, SSRR */
	DNSFW_ROUTING_HEADER,	/* IPv6, segments left > 0 */
	DNSFW_EXT_CHAIN,	/* more than six extension headers */
	DNSFW_FRAG_HEADER,	/* first fragment without its ports */
	DNSFW_FRAG_ORPHAN,	/* later fragment of nothing allowed */
	DNSFW_SPOOFED,		/* source address is not the host's */
	/* the DNS path */
	DNSFW_BY_NAME,		/* a name rule */
	DNSFW_NAME_DEFAULT,
	DNSFW_BAD_LABEL,	/* octets refused under default deny */
	DNSFW_CHAIN_DENIED,	/* a name on the CNAME chain is denied */
	DNSFW_FILTERED,		/* every address of the answer was removed */
	DNSFW_TABLE_FULL,
	DNSFW_UNKNOWN_ASKER,	/* the kernel does not say who asks */
	DNSFW_ASKER_RATE,	/* more queries than one asker may send */
	DNSFW_QTYPE,		/* the name is allowed, this type of it is not */
	DNSFW_GUARDED,		/* too much would leave in names of one domain */
	DNSFW_REASON_COUNT,
};

enum dnsfw_hook {
	DNSFW_HOOK_NONE = 0,
	DNSFW_HOOK_CONNECT,
	DNSFW_HOOK_SENDMSG,
	DNSFW_HOOK_CGROUP_EGRESS,
	DNSFW_HOOK_TC_EGRESS,
	DNSFW_HOOK_DNS,
	DNSFW_HOOK_BIND,
	DNSFW_HOOK_SOCK_CREATE,
	DNSFW_HOOK_TC_GUEST,	/* TC ingress, the host's end of a guest's link */
};

enum dnsfw_flow_state {
	DNSFW_FLOW_NEW = 0,	/* begun; nothing came back yet */
	DNSFW_FLOW_OPEN = 1,	/* the peer answered */
	DNSFW_FLOW_CLOSING = 2,	/* FIN or RST was seen */
};

enum dnsfw_inbound {
	DNSFW_INBOUND_DENY = 0,
	DNSFW_INBOUND_TCP = 1,
	DNSFW_INBOUND_ALL = 2,
	DNSFW_INBOUND_PORTS = 3,	/* role.inbound_ports */
};

/* Whose listeners a role may reach over loopback */
enum dnsfw_loopback {
	DNSFW_LOOPBACK_PORTS = 0,	/* role.loopback_ports, of anybody */
	DNSFW_LOOPBACK_ALL = 1,
	DNSFW_LOOPBACK_OWN = 2,		/* of the same role */
};

enum dnsfw_lockdown {
	DNSFW_LOCKDOWN_OFF = 0,
	DNSFW_LOCKDOWN_ON = 1,
	DNSFW_LOCKDOWN_HARD = 2,	/* replies to inbound are cut too */
};

enum dnsfw_role_flag {
	DNSFW_RESOLVED_ONLY = 1,
	DNSFW_TAKEOVER = 2,	/* port 53 leads to dnsfw, whatever the address */
};

/* In skb->mark, while a packet passes this host: no other namespace can set
 * it, for a link between namespaces wipes the mark.
 */
enum dnsfw_mark {
	DNSFW_MARK_JUDGED = 0x40000000,	/* at a guest's link; NAT may follow */
};

enum dnsfw_list {
	DNSFW_LIST_NONE = 0,	/* no list */
	DNSFW_LIST_KEPT = 1,	/* the daemon keeps it */
	DNSFW_LIST_LEFT = 2,	/* by a daemon that stopped */
};

/* IPv4 as ::ffff:a.b.c.d, network byte order */
struct dnsfw_addr {
	__u8 b[16];
};
_Static_assert(sizeof(struct dnsfw_addr) == 16, "dnsfw_addr is ABI");

/* grants: plain hash, one entry an address a role may (or may not) reach */
struct dnsfw_grant_key {
	__u32 role;
	struct dnsfw_addr addr;
};
_Static_assert(sizeof(struct dnsfw_grant_key) == 20, "dnsfw_grant_key is ABI");

/* A slot is empty when until is 0. It counts while now < until and
 * rules[rule] is alive.
 */
struct dnsfw_slot {
	__u64 until;
	__u32 rule;
	__u16 portset;
	__u8 verdict;
	__u8 pad;
};
_Static_assert(sizeof(struct dnsfw_slot) == 16, "dnsfw_slot is ABI");

struct dnsfw_grant {
	struct dnsfw_slot slots[DNSFW_SLOTS];
};
_Static_assert(sizeof(struct dnsfw_grant) == 64, "one cache line");

/* proto is 1 (ICMP, v6 too), 6, 17, ... ; low..high inclusive, 0..65535 where
 * the protocol has no ports
 */
struct dnsfw_port_range {
	__u8 proto;
	__u8 pad;
	__u16 low;
	__u16 high;
};
_Static_assert(sizeof(struct dnsfw_port_range) == 6, "dnsfw_port_range is ABI");

/* portsets: array; id 0 stays empty and covers nothing */
struct dnsfw_portset {
	__u32 used;
	struct dnsfw_port_range ranges[DNSFW_PORT_RANGES];
};
_Static_assert(sizeof(struct dnsfw_portset) == 100, "dnsfw_portset is ABI");

/* rules: hash id -> this; no entry means dead */
struct dnsfw_rule {
	__u32 alive; /* 1; of a temporary one CLOCK_BOOTTIME seconds: its end */
};
_Static_assert(sizeof(struct dnsfw_rule) == 4, "dnsfw_rule is ABI");

/* fixed: LPM; prefixlen = 64 + bits of addr (v4: 96 + bits) */
struct dnsfw_fixed_key {
	__u32 prefixlen;
	__u32 table;
	__u32 role;
	struct dnsfw_addr addr;
};
_Static_assert(sizeof(struct dnsfw_fixed_key) == 28, "dnsfw_fixed_key is ABI");

struct dnsfw_fixed_rule {
	__u32 rule;
	__u16 portset;
	__u8 verdict;
	__u8 ends;		/* counts while rules[rule] is alive */
};
_Static_assert(sizeof(struct dnsfw_fixed_rule) == 8, "dnsfw_fixed_rule is ABI");

/* The whole ordered list for a prefix; the first rule that covers the port
 * decides.
 */
struct dnsfw_fixed {
	__u32 used;
	__u32 pad;
	struct dnsfw_fixed_rule rules[DNSFW_FIXED_ENTRIES];
};
_Static_assert(sizeof(struct dnsfw_fixed) == 136, "dnsfw_fixed is ABI");

/* roles: array indexed by role id; all zero denies everything. An array
 * element is rewritten in place under its readers, so what must never be seen
 * half (which table, which default) shares one aligned 8-byte word, and
 * decide() loads that word once.
 */
struct dnsfw_role {
	__u32 table;		/* which of the fixed tables is live */
	__u8 default_verdict;
	__u8 mode;
	__u8 lockdown;
	__u8 flags;		/* dnsfw_role_flag */
	/* second word: what the role may receive, and its loopback */
	__u8 inbound;
	__u8 loopback;		/* dnsfw_loopback */
	__u16 inbound_ports;	/* portset */
	__u16 loopback_ports;	/* portset; with LOOPBACK_PORTS */
	__u8 configured;	/* 0: nobody set this role */
	__u8 pad;
	__u32 epoch;		/* bumped by every policy swap */
	__u32 audit_until;	/* CLOCK_BOOTTIME seconds; 0: as long as mode says */
};
_Static_assert(sizeof(struct dnsfw_role) == 24, "dnsfw_role is ABI");

/* How a cgroup came to its role. The highest on a process's path wins; of
 * equals the deepest.
 */
enum dnsfw_rank {
	DNSFW_RANK_NONE = 0,
	DNSFW_RANK_EXECUTABLE = 1,	/* dnsfw moved a process here on exec */
	DNSFW_RANK_CGROUP = 2,		/* the policy names it */
	DNSFW_RANK_ENROLLED = 3,	/* made for processes enrolled by hand */
};

/* cgroups: hash, id of a cgroup -> this */
struct dnsfw_subject {
	__u32 role;
	__u32 rank;		/* dnsfw_rank */
};
_Static_assert(sizeof(struct dnsfw_subject) == 8, "dnsfw_subject is ABI");

enum dnsfw_id_kind {
	DNSFW_ID_USER = 1,
	DNSFW_ID_GROUP = 2,
};

/* ids: hash -> role; numbers of the first user namespace */
struct dnsfw_id_key {
	__u32 kind;		/* dnsfw_id_kind */
	__u32 id;
};
_Static_assert(sizeof(struct dnsfw_id_key) == 8, "dnsfw_id_key is ABI");

/* sources: LPM -> role, of forwarded traffic; prefixlen = 32 + bits of addr */
struct dnsfw_source_key {
	__u32 prefixlen;
	__u32 ifindex;		/* it came in by this device; 0: by any */
	struct dnsfw_addr addr;
};
_Static_assert(sizeof(struct dnsfw_source_key) == 24,
	       "dnsfw_source_key is ABI");

/* devices: hash -> role of what comes in by a guest's link. Every device that
 * has the guest hooks has a row (DNSFW_ROLE_HOST where only sources are named
 * there), written after the hooks are attached, deleted before they go: the
 * row tells the other hooks that what is sent there is judged there.
 */
struct dnsfw_device_key {
	__u64 netns;
	__u32 ifindex;
	__u32 pad;
};
_Static_assert(sizeof(struct dnsfw_device_key) == 16,
	       "dnsfw_device_key is ABI");

/* via: hash -> the role that this role has where it leaves by this device */
struct dnsfw_via_key {
	__u64 netns;
	__u32 ifindex;
	__u32 role;
};
_Static_assert(sizeof(struct dnsfw_via_key) == 16, "dnsfw_via_key is ABI");

/* doors: hash, netns cookie -> where dnsfw takes the queries of this namespace.
 * An unconnected socket may ask several servers at once: each is given a door
 * of its own, so that the reply says which one was asked. Port 0: no door.
 */
struct dnsfw_doors {
	struct dnsfw_addr addr4;	/* mapped */
	struct dnsfw_addr addr6;
	__u16 udp4[DNSFW_DOORS];
	__u16 udp6[DNSFW_DOORS];
	__u16 tcp4;
	__u16 tcp6;
	__u32 pad;
};
_Static_assert(sizeof(struct dnsfw_doors) == 56, "dnsfw_doors is ABI");

/* taken: sk_storage, the servers that a socket believes it asks, by door */
struct dnsfw_server {
	struct dnsfw_addr addr;
	__u16 port;		/* 0: unused */
	__u16 door;		/* the port that its replies come from */
};
_Static_assert(sizeof(struct dnsfw_server) == 20, "dnsfw_server is ABI");

struct dnsfw_taken {
	struct dnsfw_server servers[DNSFW_DOORS];
	__u32 next;		/* the door that a fifth server gets */
};
_Static_assert(sizeof(struct dnsfw_taken) == 84, "dnsfw_taken is ABI");

/* listeners: where dnsfw itself answers; addr all zero is a wildcard bind */
struct dnsfw_listener_key {
	__u64 netns;
	struct dnsfw_addr addr;
	__u16 port;
	__u8 pad[6];
};
_Static_assert(sizeof(struct dnsfw_listener_key) == 32,
	       "dnsfw_listener_key is ABI");

/* locals: this host's addresses, which a raw or packet socket may name as its
 * source. The row of the all-zero address holds a dnsfw_list: sources
 * are checked while the list is kept.
 */
struct dnsfw_local_key {
	__u64 netns;
	struct dnsfw_addr addr;
};
_Static_assert(sizeof(struct dnsfw_local_key) == 24, "dnsfw_local_key is ABI");

enum dnsfw_uses {
	DNSFW_USES_CGROUPS = 1,
	DNSFW_USES_IDS = 2,
	DNSFW_USES_SOURCES = 4,
	DNSFW_USES_DEVICES = 8,
	DNSFW_USES_VIA = 16,
	DNSFW_USES_DOORS = 32,
};

/* settings: array of one; written at start, before the hooks are attached */
struct dnsfw_settings {
	__u64 netns;		/* the host's */
	__u32 only_netns;	/* root cgroup: leave other namespaces alone */
	__u16 dns_port;		/* quick test before the listeners look-up */
	__u16 uses;		/* dnsfw_uses: which tables are not empty */
};
_Static_assert(sizeof(struct dnsfw_settings) == 16, "dnsfw_settings is ABI");

/* events: ring buffer, denials sampled per reason and CPU */
struct dnsfw_event {
	__u64 at;		/* CLOCK_BOOTTIME ns */
	__u64 netns;
	__u32 role;
	__u32 rule;
	__u32 pid;		/* 0: not known */
	__u32 ifindex;
	struct dnsfw_addr addr;	/* destination */
	__u16 port;
	__u16 local_port;
	__u8 proto;
	__u8 verdict;
	__u8 reason;
	__u8 hook;
	char comm[DNSFW_COMM];
};
_Static_assert(sizeof(struct dnsfw_event) == 72, "dnsfw_event is ABI");

/* counters, role_counters: per-CPU arrays indexed by reason, by role (where
 * sampled_out stays 0)
 */
struct dnsfw_counter {
	__u64 allowed;
	__u64 denied;
	__u64 audited;		/* would have been denied */
	__u64 sampled_out;	/* denials that sent no event */
};
_Static_assert(sizeof(struct dnsfw_counter) == 32, "dnsfw_counter is ABI");

#endif
