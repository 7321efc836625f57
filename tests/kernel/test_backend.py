"""Every backend gives the same kernel part: names, sizes, types."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnsfw.datapath import abi, backend
from dnsfw.datapath.backend import MAPS, PROGRAMS, Loaded
from dnsfw.datapath.bpf import AttachType, Map, MapType, ProgType
from dnsfw.errors import DatapathError

TYPES = {
    "dnsfw_connect4": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT),
    "dnsfw_connect6": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_CONNECT),
    "dnsfw_sendmsg4": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP4_SENDMSG),
    "dnsfw_sendmsg6": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP6_SENDMSG),
    "dnsfw_recvmsg4": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP4_RECVMSG),
    "dnsfw_recvmsg6": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP6_RECVMSG),
    "dnsfw_getpeer4": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_GETPEERNAME),
    "dnsfw_getpeer6": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_GETPEERNAME),
    "dnsfw_asker": (ProgType.SOCKET_FILTER, None),
    "dnsfw_share": (ProgType.SOCKET_FILTER, None),
    "dnsfw_cg_egress": (ProgType.CGROUP_SKB, AttachType.CGROUP_INET_EGRESS),
    "dnsfw_cg_ingress": (ProgType.CGROUP_SKB, AttachType.CGROUP_INET_INGRESS),
    "dnsfw_sock_create": (ProgType.CGROUP_SOCK, AttachType.CGROUP_INET_SOCK_CREATE),
    "dnsfw_tc_egress": (ProgType.SCHED_CLS, None),
    "dnsfw_tc_egress_l3": (ProgType.SCHED_CLS, None),
    "dnsfw_tc_ingress": (ProgType.SCHED_CLS, None),
    "dnsfw_tc_ingress_l3": (ProgType.SCHED_CLS, None),
    "dnsfw_tc_lo": (ProgType.SCHED_CLS, None),
    "dnsfw_guest_in": (ProgType.SCHED_CLS, None),
    "dnsfw_guest_in_l3": (ProgType.SCHED_CLS, None),
    "dnsfw_guest_out": (ProgType.SCHED_CLS, None),
    "dnsfw_guest_out_l3": (ProgType.SCHED_CLS, None),
    "dnsfw_edge_in": (ProgType.SCHED_CLS, None),
    "dnsfw_edge_in_l3": (ProgType.SCHED_CLS, None),
    "dnsfw_edge_out": (ProgType.SCHED_CLS, None),
    "dnsfw_edge_out_l3": (ProgType.SCHED_CLS, None),
    "dnsfw_answer_lo": (ProgType.SCHED_CLS, None),
    "dnsfw_answer_in": (ProgType.SCHED_CLS, None),
    "dnsfw_answer_in_l3": (ProgType.SCHED_CLS, None),
    "dnsfw_answer_inside": (ProgType.SCHED_CLS, None),
    "dnsfw_answer_xdp": (ProgType.XDP, AttachType.XDP),
    "dnsfw_bind4": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_BIND),
    "dnsfw_bind6": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_BIND),
}
LIMITS = {
    "dnsfw_suffixes": (MapType.ARRAY_OF_MAPS, abi.Suffix.TABLES),
    "dnsfw_grants": (MapType.HASH, abi.Limit.MAX_GRANTS),
    "dnsfw_rules": (MapType.HASH, abi.Limit.MAX_RULES),
    "dnsfw_fixed": (MapType.LPM_TRIE, abi.Limit.MAX_FIXED),
    "dnsfw_flows": (MapType.LRU_HASH, abi.Limit.MAX_FLOWS),
    "dnsfw_flows_in": (MapType.LRU_HASH, abi.Limit.MAX_FLOWS_IN),
    "dnsfw_frags": (MapType.LRU_HASH, abi.Limit.MAX_FRAGS),
    "dnsfw_roles": (MapType.ARRAY, abi.Limit.MAX_ROLES),
    "dnsfw_portsets": (MapType.ARRAY, abi.Limit.MAX_PORTSETS),
    "dnsfw_listeners": (MapType.HASH, abi.Limit.MAX_LISTENERS),
    "dnsfw_locals": (MapType.HASH, abi.Limit.MAX_LOCALS),
    "dnsfw_counters": (MapType.PERCPU_ARRAY, abi.Reason.REASON_COUNT),
}


def test_programs_have_their_types(loaded: Loaded) -> None:
    found = {name: (p.type, p.attach_type) for name, p in loaded.programs.items()}

    assert found == TYPES
    assert set(TYPES) == set(PROGRAMS)


def test_tables_have_their_kinds_and_limits(loaded: Loaded) -> None:
    for name, (kind, limit) in LIMITS.items():
        table = loaded.maps[name]
        assert (table.kind, table.max_entries) == (kind, limit), name


def test_grants_are_never_evicted(loaded: Loaded) -> None:
    """An LRU would drop a live grant long before it is full."""
    assert loaded.maps["dnsfw_grants"].kind is MapType.HASH


@pytest.mark.parametrize("name", sorted(MAPS))
def test_a_table_that_is_missing_or_of_another_size_is_refused(
    loaded: Loaded, name: str
) -> None:
    table = loaded.maps[name]
    foreign = Map(table.fd, table.key_size + 4, 4, MapType.HASH, 1, name)
    without = {other: found for other, found in loaded.maps.items() if other != name}

    with pytest.raises(DatapathError, match=name):
        backend.check(replace(loaded, maps=without))
    with pytest.raises(DatapathError, match=name):
        backend.check(replace(loaded, maps={**loaded.maps, name: foreign}))
    assert backend.check(loaded) is loaded


def test_a_program_that_is_missing_is_refused(loaded: Loaded) -> None:
    programs = dict(loaded.programs)
    del programs["dnsfw_sock_create"]

    with pytest.raises(DatapathError, match="dnsfw_sock_create"):
        backend.check(replace(loaded, programs=programs))
