"""Grants, flows and counters through the sink, over maps in memory."""

from __future__ import annotations

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Limit
from dnsfw.datapath.bpf import BpfError
from dnsfw.datapath.memory import MemoryMap, memory_maps
from dnsfw.datapath.sink import KernelSink, Sink
from dnsfw.datapath.tables import number_key
from dnsfw.errors import GrantsFull
from dnsfw.model import (
    HOST,
    Entry,
    Flow,
    Grant,
    Nanos,
    Plan,
    PortRange,
    PortSet,
    Reason,
    RolePlan,
    RuleId,
    Verdict,
    addr_from,
)

HTTPS = PortSet((PortRange(6, 443, 443),))
PLAN = Plan((RolePlan(HOST, Verdict.DENY),), (), frozenset({RuleId(300)}))


def sink(maps: dict[str, MemoryMap]) -> KernelSink:
    made = KernelSink(maps, barrier=lambda: None)
    _: Sink = made
    return made


def entry(last: int, ports: PortSet = HTTPS) -> Entry:
    grant = Grant(Nanos(10**9), RuleId(300), ports, Verdict.ALLOW)
    return Entry(HOST, addr_from(f"192.0.2.{last}"), (grant,))


def test_what_is_written_is_read_back_by_the_next_process() -> None:
    maps = memory_maps()
    sink(maps).write([entry(1), entry(2)])

    assert set(sink(maps).entries()) == {entry(1), entry(2)}


def test_an_entry_without_grants_is_deleted() -> None:
    maps = memory_maps()
    s = sink(maps)
    s.write([entry(1)])

    s.write([Entry(HOST, entry(1).addr)])

    assert list(s.entries()) == []


def test_each_entry_costs_one_write() -> None:
    maps = memory_maps()
    s = sink(maps)
    s.write([entry(1)])
    before = sum(table.writes for table in maps.values())

    s.write([entry(2), entry(3)])

    assert sum(table.writes for table in maps.values()) - before == 2


def test_a_port_set_is_in_the_kernel_before_a_grant_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    maps = memory_maps()
    s = sink(maps)
    order: list[str] = []
    for name in ("dnsfw_portsets", "dnsfw_grants"):
        table, update = maps[name], maps[name].update
        monkeypatch.setattr(
            table, "update", lambda k, v, n=name, u=update: (order.append(n), u(k, v))
        )

    s.write([entry(1)])

    assert order == ["dnsfw_portsets", "dnsfw_grants"]


def test_a_full_table_says_so_and_still_renews_what_it_has() -> None:
    maps = memory_maps(grants=2)
    s = KernelSink(maps, barrier=lambda: None, capacity=2)
    s.write([entry(1), entry(2)])
    renewed = Entry(HOST, entry(2).addr, (Grant(Nanos(9 * 10**9), *_rest(entry(2))),))

    with pytest.raises(GrantsFull) as caught:
        s.write([entry(3), renewed])

    assert caught.value.capacity == 2
    assert set(s.entries()) == {entry(1), renewed}


def test_many_at_once_are_written_in_one_call_and_a_full_table_still_renews() -> None:
    maps = memory_maps(grants=3)
    s = KernelSink(maps, barrier=lambda: None, capacity=3)
    s.write([entry(1), entry(2), entry(3)])
    assert len(list(s.entries())) == 3
    renewed = Entry(HOST, entry(3).addr, (Grant(Nanos(9 * 10**9), *_rest(entry(3))),))

    with pytest.raises(GrantsFull):
        s.write([entry(4), entry(5), renewed])

    assert set(s.entries()) == {entry(1), entry(2), renewed}


def test_many_at_once_with_a_deletion_among_them() -> None:
    maps = memory_maps()
    s = sink(maps)
    s.write([entry(1)])

    s.write([entry(2), Entry(HOST, entry(1).addr), entry(3)])

    assert set(s.entries()) == {entry(2), entry(3)}


def test_many_at_once_that_need_more_port_sets_than_are_free() -> None:
    """Nothing is collected while entries that name a new number are not written yet."""
    maps = memory_maps()
    s = sink(maps)
    for port in range(Limit.MAX_PORTSETS - 3):  # two numbers are left, four are needed
        s.write([entry(2, PortSet((PortRange(17, port, port),)))])
    four = [entry(20 + p, PortSet((PortRange(6, p, p),))) for p in range(1, 5)]

    s.write(four)

    found = {e.addr: e for e in s.entries()}
    assert [found[e.addr] for e in four] == four


def _rest(old: Entry) -> tuple[RuleId, PortSet, Verdict]:
    grant = old.grants[0]
    return grant.rule, grant.ports, grant.verdict


def test_an_error_that_is_not_fullness_is_not_called_full(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = memory_maps()
    s = sink(maps)

    def refuse(key: bytes, value: bytes, /) -> None:
        raise BpfError("write", 1)

    monkeypatch.setattr(maps["dnsfw_grants"], "update", refuse)

    with pytest.raises(BpfError):
        s.write([entry(1)])


def test_port_set_numbers_are_used_again_when_nothing_names_them() -> None:
    maps = memory_maps()
    s = sink(maps)
    s.apply(PLAN)
    s.write([entry(1)])  # keeps HTTPS alive

    for port in range(2 * Limit.MAX_PORTSETS):  # more sets than there are numbers
        s.write([entry(2, PortSet((PortRange(17, port, port),)))])

    assert next(e for e in s.entries() if e.addr == entry(1).addr) == entry(1)
    last = PortSet((PortRange(17, port, port),))
    assert next(e for e in s.entries() if e.addr == entry(2).addr) == entry(2, last)


def test_collecting_spares_the_sets_of_the_entry_that_is_being_written() -> None:
    maps = memory_maps()
    s = sink(maps)
    for port in range(Limit.MAX_PORTSETS - 2):  # one number is left, two are needed
        s.write([entry(2, PortSet((PortRange(17, port, port),)))])
    two = tuple(
        Grant(Nanos(10**9), RuleId(300), PortSet((PortRange(6, p, p),)), Verdict.ALLOW)
        for p in (1, 2)
    )

    s.write([Entry(HOST, addr_from("192.0.2.9"), two)])

    found = next(e for e in s.entries() if e.addr == addr_from("192.0.2.9"))
    assert found.grants == two


def flow(*, inbound: bool) -> Flow:
    key = abi.FlowKey(0, bytes(16), addr_from("192.0.2.7"), 40000, 443, 6, 0).pack()
    return Flow(
        key=key, role=HOST, rule=RuleId(300), inbound=inbound, proto=6,
        local=addr_from("::"), local_port=40000, remote=addr_from("192.0.2.7"), remote_port=443,
        since=Nanos(1), seen=Nanos(2), state=abi.FlowState.OPEN, reason=Reason.GRANTED,
    )  # fmt: skip


def begin(maps: dict[str, MemoryMap], table: str, made: Flow) -> None:
    value = abi.Flow(made.since, made.seen, made.role, made.rule, 0, made.state, made.reason)
    maps[table].update(made.key, value.pack())


def test_a_flow_is_cut_from_the_table_it_is_in() -> None:
    maps = memory_maps()
    begin(maps, "dnsfw_flows", flow(inbound=False))
    begin(maps, "dnsfw_flows_in", flow(inbound=True))
    s = sink(maps)
    assert {f.inbound for f in s.flows()} == {False, True}

    before = dict(maps["dnsfw_generation"].data)

    s.cut([flow(inbound=True), flow(inbound=True)])

    assert [f.inbound for f in s.flows()] == [False]
    assert maps["dnsfw_generation"].data != before  # what hooks keep of it ends, too


def test_counters_are_told_by_reason() -> None:
    maps = memory_maps()
    shares = abi.Counter(0, 1, 0, 0).pack() + abi.Counter(0, 2, 0, 1).pack()
    maps["dnsfw_counters"].update(number_key(Reason.NEVER_RESOLVED), shares)

    counters = sink(maps).counters()

    assert counters[Reason.NEVER_RESOLVED] == abi.Counter(0, 3, 0, 1)
    assert counters[Reason.GRANTED] == abi.Counter(0, 0, 0, 0)
    assert Reason.REASON_COUNT not in counters


def test_what_opens_and_what_is_deleted_at_once_ends_as_its_last_word_says() -> None:
    maps = memory_maps(grants=3)
    s = KernelSink(maps, barrier=lambda: None, capacity=3)
    s.write([entry(1), entry(2), entry(3)])

    s.write([gone(1), entry(4), entry(2), gone(2), gone(3), entry(3)])

    assert set(s.entries()) == {entry(3), entry(4)}


def gone(number: int) -> Entry:
    return Entry(HOST, entry(number).addr)
