"""The shipped fake judges as the kernel does."""

from __future__ import annotations

import pytest

from dnsfw.datapath.bpf import BpfError
from dnsfw.datapath.memory import MemoryMap, MemorySink
from dnsfw.datapath.sink import Sink
from dnsfw.errors import GrantsFull
from dnsfw.model import (
    HOST,
    Addr,
    Entry,
    FixedEntry,
    FixedRule,
    Grant,
    Lockdown,
    Loopback,
    Nanos,
    Plan,
    PortRange,
    PortSet,
    Reason,
    RoleId,
    RolePlan,
    RuleId,
    Verdict,
    addr_from,
)

TCP, UDP = 6, 17
HTTPS = PortSet((PortRange(TCP, 443, 443),))
ALL = PortSet((PortRange(TCP), PortRange(UDP)))
RULE = RuleId(300)
HERE, THERE = addr_from("192.0.2.7"), addr_from("2001:db8::7")
NOW = Nanos(1_000)


def made(
    default: Verdict = Verdict.DENY, *fixed: FixedEntry, resolved_only: bool = False
) -> MemorySink:
    sink = MemorySink()
    _: Sink = sink
    role = RolePlan(HOST, default, resolved_only=resolved_only)
    sink.apply(Plan((role,), fixed, frozenset({RULE, RuleId(2)})))
    return sink


def opened(addr: Addr, *grants: Grant) -> Entry:
    return Entry(HOST, addr, grants)


def grant(verdict: Verdict = Verdict.ALLOW, until: int = 2_000, ports: PortSet = HTTPS) -> Grant:
    return Grant(Nanos(until), RULE, ports, verdict)


def judge(sink: MemorySink, addr: Addr, port: int = 443, now: int = NOW) -> tuple[Verdict, Reason]:
    return sink.judge(HOST, addr, TCP, port, Nanos(now))


@pytest.mark.parametrize("addr", [HERE, THERE])
def test_a_grant_opens_its_port_until_its_deadline(addr: Addr) -> None:
    sink = made()
    assert judge(sink, addr) == (Verdict.DENY, Reason.NEVER_RESOLVED)

    sink.write([opened(addr, grant())])

    assert judge(sink, addr) == (Verdict.ALLOW, Reason.GRANTED)
    assert judge(sink, addr, port=22) == (Verdict.DENY, Reason.WRONG_PORT)
    assert judge(sink, addr, now=2_000) == (Verdict.DENY, Reason.EXPIRED)


def test_a_grant_of_a_dead_rule_counts_for_nothing() -> None:
    sink = made()
    sink.write([opened(HERE, grant())])

    sink.apply(Plan((RolePlan(HOST, Verdict.DENY),), (), frozenset()))

    assert judge(sink, HERE) == (Verdict.DENY, Reason.NEVER_RESOLVED)


def test_a_closing_grant_beats_an_opening_one_and_the_default() -> None:
    sink = made(Verdict.ALLOW)
    assert judge(sink, HERE) == (Verdict.ALLOW, Reason.DEFAULT)

    sink.write([opened(HERE, grant(), grant(Verdict.DENY))])

    assert judge(sink, HERE) == (Verdict.DENY, Reason.CLOSED)


def test_an_address_rule_beats_grants_both_ways() -> None:
    deny = FixedEntry(HOST, HERE, 128, (FixedRule(RULE, HTTPS, Verdict.DENY),))
    allow = FixedEntry(HOST, THERE, 128, (FixedRule(RULE, HTTPS, Verdict.ALLOW),))
    sink = made(Verdict.DENY, deny, allow)
    sink.write([opened(HERE, grant()), opened(THERE, grant(Verdict.DENY))])

    assert judge(sink, HERE) == (Verdict.DENY, Reason.ADDRESS_RULE)
    assert judge(sink, THERE) == (Verdict.ALLOW, Reason.ADDRESS_RULE)


def test_the_longest_prefix_decides_alone() -> None:
    wide = FixedEntry(HOST, addr_from("192.0.2.0"), 120, (FixedRule(RULE, ALL, Verdict.DENY),))
    near = FixedEntry(HOST, HERE, 128, (FixedRule(RULE, HTTPS, Verdict.ALLOW),
                                        FixedRule(RULE, ALL, Verdict.DENY)))  # fmt: skip
    sink = made(Verdict.DENY, wide, near)

    assert judge(sink, HERE) == (Verdict.ALLOW, Reason.ADDRESS_RULE)
    assert judge(sink, HERE, port=22) == (Verdict.DENY, Reason.ADDRESS_RULE)


def test_all_of_ipv6_is_not_ipv4() -> None:
    everything6 = FixedEntry(HOST, addr_from("::"), 0, (FixedRule(RULE, ALL, Verdict.ALLOW),))
    sink = made(Verdict.DENY, everything6)

    assert judge(sink, THERE) == (Verdict.ALLOW, Reason.ADDRESS_RULE)
    assert judge(sink, HERE) == (Verdict.DENY, Reason.NEVER_RESOLVED)


def test_the_built_in_rule_has_its_own_reason() -> None:
    metadata = FixedEntry(HOST, HERE, 128, (FixedRule(RuleId(2), ALL, Verdict.DENY),))

    assert judge(made(Verdict.ALLOW, metadata), HERE) == (Verdict.DENY, Reason.BUILTIN)


def test_resolved_only_refuses_what_no_name_led_to() -> None:
    sink = made(Verdict.ALLOW, resolved_only=True)

    assert judge(sink, HERE) == (Verdict.DENY, Reason.NEVER_RESOLVED)


def test_lockdown_stops_everything_but_loopback() -> None:
    sink = made(Verdict.ALLOW)

    sink.lockdown(Lockdown.ON)

    assert judge(sink, HERE) == (Verdict.DENY, Reason.LOCKDOWN)
    assert judge(sink, addr_from("127.0.0.1")) == (Verdict.ALLOW, Reason.LOOPBACK)
    assert judge(sink, addr_from("::1")) == (Verdict.ALLOW, Reason.LOOPBACK)
    assert sink.locked == Lockdown.ON


def test_loopback_own_reaches_listeners_of_the_same_role_alone() -> None:
    sink = MemorySink()
    sink.apply(Plan((RolePlan(HOST, Verdict.ALLOW, loopback=Loopback.OWN),), (), frozenset()))
    lo = addr_from("127.0.0.1")
    assert sink.judge(HOST, lo, TCP, 443, NOW) == (Verdict.DENY, Reason.LOOPBACK_OTHER)

    sink.listening[TCP, 443] = HOST

    assert sink.judge(HOST, lo, TCP, 443, NOW) == (Verdict.ALLOW, Reason.LOOPBACK)


def test_a_role_that_nobody_set_is_denied() -> None:
    sink = made(Verdict.ALLOW)

    assert sink.judge(RoleId(99), HERE, TCP, 443, NOW)[0] == Verdict.DENY


def test_a_second_sink_over_the_same_maps_adopts_them() -> None:
    sink = made()
    sink.write([opened(HERE, grant())])

    again = MemorySink(maps=sink.maps)

    assert again.entry(HOST, HERE) == opened(HERE, grant())
    assert judge(again, HERE) == (Verdict.ALLOW, Reason.GRANTED)


def test_its_capacity_can_be_made_small() -> None:
    sink = MemorySink(capacity=1)
    sink.write([opened(HERE, grant())])

    with pytest.raises(GrantsFull):
        sink.write([opened(THERE, grant())])


def test_an_array_element_cannot_be_deleted_and_a_hash_can_be_full() -> None:
    array, table = MemoryMap(2, array_of=4), MemoryMap(1)
    table.update(b"a", b"1")

    assert not array.delete(bytes(4))
    assert array.lookup(bytes(4)) == bytes(4)
    with pytest.raises(BpfError):
        table.update(b"b", b"2")
    table.update(b"a", b"3")
