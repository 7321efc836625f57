"""Model values as the kernel's bytes, and back."""

from __future__ import annotations

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Limit
from dnsfw.datapath.bpf import BpfError
from dnsfw.datapath.tables import (
    PROBE_RULE,
    PortSets,
    PortSetsFull,
    decode_entry,
    decode_flow,
    decode_portset,
    encode_entry,
    encode_fixed,
    encode_portset,
    encode_role,
    fixed_portsets,
    grant_portsets,
    is_full,
    shield_mapped,
    sum_counters,
    with_probe,
)
from dnsfw.errors import DatapathError
from dnsfw.model import (
    HOST,
    PROBE,
    Entry,
    FixedEntry,
    FixedRule,
    Grant,
    Lockdown,
    Nanos,
    Plan,
    PortRange,
    PortSet,
    RolePlan,
    RuleId,
    Verdict,
    addr_from,
)

HTTPS = PortSet((PortRange(6, 443, 443),))
HIGH = PortSet((PortRange(6, 1024, 61024), PortRange(17, 1024, 61024)))
SOMEWHERE = addr_from("192.0.2.7")


def sets(capacity: int = 8) -> tuple[PortSets, dict[int, bytes]]:
    written: dict[int, bytes] = {}
    return PortSets(written.__setitem__, capacity), written


def test_a_port_set_is_written_once_and_keeps_its_number() -> None:
    ports, written = sets()

    first = ports.id_of(HTTPS)

    assert ports.id_of(HTTPS) == first
    assert list(written) == [first]
    assert decode_portset(written[first]) == HTTPS


def test_a_range_of_sixty_thousand_ports_is_one_element() -> None:
    ports, written = sets()

    ports.id_of(HIGH)

    assert len(written) == 1


def test_the_empty_port_set_is_number_zero_and_never_written() -> None:
    ports, written = sets()

    assert ports.id_of(PortSet()) == 0
    assert written == {}


def test_an_adopted_number_is_not_given_to_another_set() -> None:
    ports, _ = sets()
    ports.adopt(1, encode_portset(HTTPS))

    assert ports.id_of(HTTPS) == 1
    assert ports.id_of(HIGH) != 1
    assert ports.ports(1) == HTTPS


def test_a_failed_write_leaves_the_number_free() -> None:
    def refuse(number: int, value: bytes) -> None:
        raise BpfError("write", 12)

    ports = PortSets(refuse, 8)

    with pytest.raises(BpfError):
        ports.id_of(HTTPS)
    assert ports.ports(1) == PortSet()


def test_when_no_number_is_free_unused_ones_can_be_collected() -> None:
    ports, _ = sets(capacity=3)
    keep = ports.id_of(HTTPS)
    ports.id_of(HIGH)
    third = PortSet((PortRange(1, 0, 65535),))
    with pytest.raises(PortSetsFull):
        ports.id_of(third)

    freed = ports.collect({keep})

    assert freed == 1
    assert ports.id_of(third) != keep
    assert ports.id_of(HTTPS) == keep


def test_too_many_ranges_are_an_error_that_names_the_limit() -> None:
    many = PortSet(tuple(PortRange(6, p, p) for p in range(0, 2 * Limit.PORT_RANGES + 2, 2)))

    with pytest.raises(DatapathError, match="16"):
        encode_portset(many)


@pytest.mark.parametrize("count", range(Limit.SLOTS + 1))
def test_an_entry_survives_the_round_trip(count: int) -> None:
    ports, _ = sets()
    grants = tuple(
        Grant(Nanos(10**9 * (i + 1)), RuleId(256 + i), HTTPS if i % 2 else HIGH, Verdict(i % 2))
        for i in range(count)
    )
    entry = Entry(HOST, SOMEWHERE, grants)

    key, value = encode_entry(entry, ports.id_of)

    assert len(key) == abi.GrantKey.SIZE
    assert len(value) == abi.Grant.SIZE
    assert decode_entry(key, value, ports.ports) == entry


def test_the_port_sets_of_a_value_are_found_for_collecting() -> None:
    ports, _ = sets()
    entry = Entry(HOST, SOMEWHERE, (Grant(Nanos(1), RuleId(256), HIGH, Verdict.ALLOW),))
    fixed = FixedEntry(HOST, SOMEWHERE, 128, (FixedRule(RuleId(256), HTTPS, Verdict.DENY),))

    _, grant = encode_entry(entry, ports.id_of)
    _, rules = encode_fixed(fixed, 0, ports.id_of)

    assert grant_portsets(grant) == {0, ports.id_of(HIGH)}
    assert fixed_portsets(rules) == {0, ports.id_of(HTTPS)}


def test_a_prefix_is_counted_after_table_and_role() -> None:
    ports, _ = sets()
    rule = FixedRule(RuleId(300), HTTPS, Verdict.ALLOW)

    key, value = encode_fixed(FixedEntry(HOST, addr_from("10.0.0.0"), 104, (rule,)), 1, ports.id_of)

    parts = abi.FixedKey.unpack(key)
    assert (parts.prefixlen, parts.table, parts.role) == (64 + 96 + 8, 1, HOST)
    assert len(value) == abi.Fixed.SIZE
    assert abi.Fixed.unpack(value).used == 1


def test_an_ipv6_prefix_that_covers_the_mapped_range_is_kept_off_ipv4() -> None:
    everything6 = FixedEntry(HOST, addr_from("::"), 0, ())

    shielded = shield_mapped([everything6])

    assert shielded[-1] == FixedEntry(HOST, addr_from("0.0.0.0"), 96, ())


def test_a_rule_for_all_of_ipv4_is_not_shielded_away() -> None:
    entries = (
        FixedEntry(HOST, addr_from("::"), 0, ()),
        FixedEntry(HOST, addr_from("0.0.0.0"), 96, ()),
    )

    assert shield_mapped(entries) == entries


def test_a_narrow_ipv6_prefix_needs_no_shield() -> None:
    entries = (FixedEntry(HOST, addr_from("2001:db8::"), 32, ()),)

    assert shield_mapped(entries) == entries


def test_every_plan_gets_the_self_test_role_which_denies_all() -> None:
    plan = with_probe(Plan((RolePlan(HOST, Verdict.ALLOW),), (), frozenset()))

    probe = next(r for r in plan.roles if r.role == PROBE)
    assert probe.default == Verdict.DENY
    assert probe.loopback is abi.Loopback.PORTS
    assert PROBE_RULE in plan.rules


def test_lockdown_is_written_to_a_role_but_never_to_the_self_test() -> None:
    ports, _ = sets()
    host, probe = RolePlan(HOST, Verdict.ALLOW), RolePlan(PROBE, Verdict.DENY)

    assert encode_role(host, 0, 1, Lockdown.HARD, ports.id_of).lockdown == Lockdown.HARD
    assert encode_role(probe, 0, 1, Lockdown.HARD, ports.id_of).lockdown == Lockdown.OFF


def test_a_flow_is_read_with_both_its_ends() -> None:
    key = abi.FlowKey(7, bytes(16), SOMEWHERE, 40000, 443, 6, 0).pack()
    value = abi.Flow(1, 2, HOST, 300, 99, 1, 12).pack()

    flow = decode_flow(key, value, inbound=True)

    assert (flow.remote, flow.remote_port, flow.local_port, flow.inbound) == (
        SOMEWHERE, 443, 40000, True,
    )  # fmt: skip
    assert flow.key == key


def test_counters_of_all_cpus_are_added_up() -> None:
    shares = abi.Counter(1, 2, 3, 4).pack() + abi.Counter(10, 20, 30, 40).pack()

    assert sum_counters(shares) == abi.Counter(11, 22, 33, 44)


def test_only_a_full_map_counts_as_full() -> None:
    assert is_full(BpfError("write", 7))  # E2BIG
    assert is_full(BpfError("write", 12))  # ENOMEM
    assert not is_full(BpfError("write", 1))
    assert not is_full(DatapathError("other"))
