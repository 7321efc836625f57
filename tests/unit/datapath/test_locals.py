"""The host's addresses in the kernel, and when the check of sources is in force."""

from __future__ import annotations

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Limit
from dnsfw.datapath.locals import Locals
from dnsfw.datapath.memory import MemoryMap
from dnsfw.model import Addr, addr_from

NETNS = 77
ONE, TWO = addr_from("192.0.2.1"), addr_from("2001:db8::1")
STATE = abi.LocalKey(NETNS, bytes(16))


def rows(table: MemoryMap) -> set[abi.LocalKey]:
    return {abi.LocalKey.unpack(key) for key in table.data}


def test_the_check_is_in_force_from_the_first_list_on() -> None:
    table = MemoryMap(16)

    Locals(table, NETNS).refresh([ONE, TWO])

    assert rows(table) == {STATE, abi.LocalKey(NETNS, ONE), abi.LocalKey(NETNS, TWO)}
    assert list(table.data)[-1] == STATE.pack()  # last, or the first packets would be refused


def test_an_address_that_went_away_goes_from_the_list() -> None:
    table = MemoryMap(16)
    Locals(table, NETNS).refresh([ONE, TWO])

    Locals(table, NETNS).refresh([TWO])

    assert rows(table) == {STATE, abi.LocalKey(NETNS, TWO)}


def test_another_namespace_is_left_alone() -> None:
    table = MemoryMap(16)
    Locals(table, 78).refresh([ONE])

    Locals(table, NETNS).refresh([TWO])

    assert abi.LocalKey(78, ONE) in rows(table)


def test_a_list_that_nobody_keeps_refuses_nothing() -> None:
    table = MemoryMap(16)
    kept = Locals(table, NETNS)
    kept.refresh([ONE])
    assert table.data[STATE.pack()] == bytes([abi.List.KEPT])

    kept.stop()

    assert table.data[STATE.pack()] == bytes([abi.List.LEFT])
    assert abi.LocalKey(NETNS, ONE) in rows(table)  # it still tells ours from others'


def test_a_list_that_never_was_is_not_left() -> None:
    table = MemoryMap(16)

    Locals(table, NETNS).stop()

    assert rows(table) == set()


def test_more_addresses_than_the_table_takes_switch_the_check_off() -> None:
    table = MemoryMap(Limit.MAX_LOCALS)
    kept = Locals(table, NETNS)
    kept.refresh([ONE])

    kept.refresh(Addr(i.to_bytes(16, "big")) for i in range(1, Limit.MAX_LOCALS + 1))

    assert STATE not in rows(table)
