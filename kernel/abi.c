/* SPDX-License-Identifier: GPL-2.0 */
/* Makes BTF of every type in abi.h, for gen_abi.py. clang describes only
 * what a symbol uses, so each type has one here; nothing of this is loaded.
 */
#include "include/dnsfw/abi.h"
#include "include/dnsfw/abi_dns.h"
#include "include/dnsfw/abi_flow.h"
#include "include/dnsfw/abi_suffix.h"

#define SHOW(kind, name) kind dnsfw_##name abi_##name

SHOW(enum, abi);
SHOW(enum, limit);
SHOW(enum, role_id);
SHOW(enum, rule_id);
SHOW(enum, verdict);
SHOW(enum, mode);
SHOW(enum, reason);
SHOW(enum, hook);
SHOW(enum, flow_state);
SHOW(enum, inbound);
SHOW(enum, lockdown);
SHOW(enum, loopback);
SHOW(enum, role_flag);
SHOW(enum, rank);
SHOW(enum, id_kind);
SHOW(enum, uses);
SHOW(enum, list);
SHOW(enum, mark);
SHOW(enum, path);
SHOW(enum, dns_limit);
SHOW(enum, fall);
SHOW(enum, stage);
SHOW(enum, dns_mark);
SHOW(enum, key_flag);
SHOW(enum, suffix);
SHOW(enum, outcome);
SHOW(enum, refusal_kind);
SHOW(enum, stop);

SHOW(struct, grant_key);
SHOW(struct, slot);
SHOW(struct, grant);
SHOW(struct, port_range);
SHOW(struct, portset);
SHOW(struct, rule);
SHOW(struct, fixed_key);
SHOW(struct, fixed_rule);
SHOW(struct, fixed);
SHOW(struct, role);
SHOW(struct, flow_key);
SHOW(struct, flow);
SHOW(struct, frag_key);
SHOW(struct, subject);
SHOW(struct, id_key);
SHOW(struct, source_key);
SHOW(struct, device_key);
SHOW(struct, via_key);
SHOW(struct, doors);
SHOW(struct, server);
SHOW(struct, taken);
SHOW(struct, listener_key);
SHOW(struct, local_key);
SHOW(struct, settings);
SHOW(struct, sock);
SHOW(struct, event);
SHOW(struct, counter);
SHOW(struct, question);
SHOW(struct, answer_head);
SHOW(struct, answer);
SHOW(struct, answer_big);
SHOW(struct, answer_long);
SHOW(struct, dns);
SHOW(struct, role_answers);
SHOW(struct, bucket);
SHOW(struct, suffix_head);
SHOW(struct, meaning);
SHOW(struct, refusal_key);
SHOW(struct, asked_event);
