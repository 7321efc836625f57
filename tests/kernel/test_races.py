"""Tables that change under the hooks' eyes: readers on one CPU, the daemon on another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from dnsfw.datapath import abi
from dnsfw.datapath.sink import KernelSink
from dnsfw.model import HOST, Reason, addr_from
from tests.support.packets import ICMP, IP4
from tests.support.wall import ALLOW, LATER, RULE, TC, Wall, boottime, ports

PACKETS = 5_000_000  # of a protocol without flows: each is judged by the table. A second.


def while_packets_run(wall: Wall, address: str, change: Callable[[], None]) -> None:
    """`change` again and again, until all packets to the address are judged."""
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(wall.run, TC, IP4(address, ICMP()), repeat=PACKETS)
        while not run.done():
            change()
        run.result()


def element(wall: Wall, address: str, text: str) -> tuple[bytes, bytes]:
    number = wall.sink._portsets.id_of(ports(text))
    slot = abi.Slot(boottime() + LATER, RULE, number, ALLOW).pack()
    key = abi.GrantKey(HOST, addr_from(address)).pack()
    return key, slot.ljust(abi.Grant.SIZE, b"\0")


def test_row_112_a_grant_that_is_renewed_is_never_missed(wall: Wall) -> None:
    """An update swaps the element; the old one is reused for another address at once."""
    mine = element(wall, "192.0.2.10", "icmp")
    other = element(wall, "192.0.2.11", "443/tcp")
    table = wall.table("dnsfw_grants")
    table.update(*mine)

    def renew() -> None:
        table.update(*mine)
        table.update(*other)
        table.update(*mine)
        table.delete(other[0])

    while_packets_run(wall, "192.0.2.10", renew)

    counters = wall.sink.counters()
    assert counters[Reason.GRANTED].allowed == PACKETS


def test_what_replaces_a_refused_address_opens_nothing(wall: Wall) -> None:
    shut = element(wall, "192.0.2.10", "443/tcp")
    opened = element(wall, "192.0.2.11", "icmp")
    table = wall.table("dnsfw_grants")

    def replace() -> None:
        table.update(*shut)
        table.delete(shut[0])
        table.update(*opened)
        table.delete(opened[0])

    while_packets_run(wall, "192.0.2.10", replace)

    counters = wall.sink.counters()
    assert counters[Reason.GRANTED].allowed == 0
    assert sum(counter.denied for counter in counters.values()) == PACKETS


def test_row_113_no_packet_meets_half_a_reload(wall: Wall) -> None:
    """Two policies that both refuse an address: one by its default, one by a rule."""
    address = "203.0.113.9"
    denied = {"203.0.113.0/24": [("tcp udp icmp", abi.Verdict.DENY, RULE)]}
    # the real barrier: the old table goes when nobody can still look there
    wall.sink = KernelSink(wall.loaded.maps)
    strict = True

    def reload() -> None:
        nonlocal strict
        strict = not strict
        if strict:
            wall.policy()
        else:
            wall.policy(ALLOW, fixed=denied)

    while_packets_run(wall, address, reload)

    counters = wall.sink.counters()
    assert sum(counter.allowed for counter in counters.values()) == 0
