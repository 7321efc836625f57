"""Where port 53 leads, as the hooks see it."""

from __future__ import annotations

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.doors import Doors
from dnsfw.datapath.listeners import Listener, Listeners
from dnsfw.datapath.memory import MemoryMap, memory_maps
from dnsfw.datapath.tables import number_key
from dnsfw.errors import DatapathError
from dnsfw.model import addr_from

HERE, CONTAINER, OTHER = 77, 901, 902
ADDR4, ADDR6 = addr_from("127.0.53.53"), addr_from("::1")
DOORS = abi.Doors(ADDR4, ADDR6, (41, 42, 43, 44), (61, 62, 63, 64), 45, 65)
MOVED = abi.Doors(ADDR4, ADDR6, (51, 52, 53, 54), (61, 62, 63, 64), 55, 65)
ONLY4 = abi.Doors(ADDR4, ADDR6, (41, 42, 43, 44), (0, 0, 0, 0), 45, 0)


def made(maps: dict[str, MemoryMap], netns: int = HERE) -> tuple[Doors, Listeners]:
    listeners = Listeners(maps["dnsfw_listeners"], maps["dnsfw_settings"], netns)
    return Doors(maps["dnsfw_doors"], listeners), listeners


def registered(maps: dict[str, MemoryMap]) -> set[tuple[int, bytes, int]]:
    return {
        (k.netns, k.addr, k.port)
        for k in map(abi.ListenerKey.unpack, maps["dnsfw_listeners"].data)
    }


def uses(maps: dict[str, MemoryMap]) -> int:
    return abi.Settings.unpack(maps["dnsfw_settings"].data[number_key(0)]).uses


def rows(netns: int, doors: abi.Doors) -> set[tuple[int, bytes, int]]:
    four = {(netns, doors.addr4, port) for port in (*doors.udp4, doors.tcp4) if port}
    return four | {(netns, doors.addr6, port) for port in (*doors.udp6, doors.tcp6) if port}


def test_doors_are_listeners_of_their_namespace_on_any_port() -> None:
    maps = memory_maps()
    doors, listeners = made(maps)
    listeners.register([Listener(ADDR4, 53)])

    doors.open(CONTAINER, DOORS)

    assert doors.standing() == {CONTAINER: DOORS}
    assert registered(maps) == rows(CONTAINER, DOORS) | {(HERE, ADDR4, 53)}
    assert uses(maps) == abi.Uses.DOORS


def test_listeners_that_are_registered_later_leave_doors_alone() -> None:
    maps = memory_maps()
    doors, listeners = made(maps)
    doors.open(HERE, DOORS)

    listeners.register([Listener(ADDR4, 53)])

    assert registered(maps) == rows(HERE, DOORS) | {(HERE, ADDR4, 53)}


def test_doors_that_move_leave_no_listener_behind() -> None:
    maps = memory_maps()
    doors, _ = made(maps)
    doors.open(CONTAINER, DOORS)

    doors.open(CONTAINER, MOVED)

    assert doors.standing() == {CONTAINER: MOVED}
    assert registered(maps) == rows(CONTAINER, MOVED)


def test_closed_doors_leave_nothing() -> None:
    maps = memory_maps()
    doors, _ = made(maps)
    doors.open(CONTAINER, DOORS)

    doors.close(CONTAINER)
    doors.close(OTHER)

    assert doors.standing() == {}
    assert registered(maps) == set()
    assert uses(maps) == 0


def test_doors_of_an_earlier_process_are_seen_and_closed() -> None:
    maps = memory_maps()
    made(maps)[0].open(CONTAINER, DOORS)

    doors, _ = made(maps)

    assert doors.standing() == {CONTAINER: DOORS}
    doors.close(CONTAINER)
    assert registered(maps) == set()


def test_the_same_doors_after_a_restart_are_still_listeners() -> None:
    maps = memory_maps()
    made(maps)[0].open(HERE, DOORS)
    doors, listeners = made(maps)
    listeners.register([Listener(ADDR4, 53)])

    doors.open(HERE, DOORS)

    assert registered(maps) == rows(HERE, DOORS) | {(HERE, ADDR4, 53)}


def test_a_namespace_without_ipv6_has_doors_for_ipv4_alone() -> None:
    maps = memory_maps()
    doors, _ = made(maps)

    doors.open(CONTAINER, ONLY4)

    assert registered(maps) == rows(CONTAINER, ONLY4)


def test_before_6_15_namespaces_share_a_row_until_the_last_has_closed() -> None:
    maps = memory_maps()
    doors, _ = made(maps, netns=0)
    doors.open(CONTAINER, DOORS)
    doors.open(OTHER, DOORS)

    doors.close(CONTAINER)

    assert registered(maps) == rows(0, DOORS)
    doors.close(OTHER)
    assert registered(maps) == set()


def test_a_full_table_says_so_and_leaves_no_listener() -> None:
    maps = memory_maps()
    maps["dnsfw_doors"] = MemoryMap(1)
    doors, _ = made(maps)
    doors.open(CONTAINER, DOORS)

    with pytest.raises(DatapathError):
        doors.open(OTHER, MOVED)

    assert registered(maps) == rows(CONTAINER, DOORS)
