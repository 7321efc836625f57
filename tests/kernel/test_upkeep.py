"""What a host needs to live passes under `deny`, in its narrow shape and at its rate.

TIME_WAIT, RST and ICMP errors come from the kernel's own sockets, which a test run cannot
have: tests/netns shows them.
"""

from __future__ import annotations

import pytest

from dnsfw.model import Lockdown, Reason
from tests.support.packets import (
    ARP,
    EAPOL,
    ICMP6,
    IP4,
    IP6,
    UDP,
    Ether,
    Fragment,
    HopOptions,
    Part,
    Raw,
)
from tests.support.wall import DENY, EGRESS, TC, Wall

LINK6, GROUP6 = "fe80::1", "ff02::1"

PASSES = [
    *[
        pytest.param(IP6(GROUP6, ICMP6(kind), hops=255), id=f"ND {kind}")
        for kind in range(133, 138)
    ],
    pytest.param(IP6("2001:db8::1", ICMP6(135), hops=255), id="NUD probe of a global neighbour"),
    pytest.param(IP6(GROUP6, HopOptions(ICMP6(143)), src=LINK6, hops=1), id="MLDv2 report"),
    pytest.param(IP6(GROUP6, HopOptions(ICMP6(131)), src=LINK6, hops=1), id="MLD report"),
    pytest.param(IP4("224.0.0.22", Raw(2), ttl=1, options=bytes([148, 4, 0, 0])), id="IGMP"),
    pytest.param(IP4("255.255.255.255", UDP(67, sport=68), src="0.0.0.0"), id="DHCP discover"),
    pytest.param(IP4("198.51.100.1", UDP(67, sport=68)), id="DHCP renewal"),
    pytest.param(IP6("ff02::1:2", UDP(547, sport=546), src=LINK6), id="DHCPv6 solicit"),
    pytest.param(IP6(LINK6, UDP(547, sport=546), src=LINK6), id="DHCPv6 renewal"),
]
REFUSED = [
    pytest.param(IP6(GROUP6, ICMP6(135), hops=254), id="ND that a router passed on"),
    pytest.param(IP6(GROUP6, ICMP6(135, bytes(600)), hops=255), id="ND with a payload"),
    pytest.param(IP6(GROUP6, Fragment(ICMP6(135, bytes(16)), more=True), hops=255),
                 id="ND in fragments"),
    pytest.param(IP6("2001:db8::1", ICMP6(143), hops=64), id="MLD that routers pass on"),
    pytest.param(IP4("203.0.113.9", Raw(2), ttl=64), id="IGMP that routers pass on"),
    pytest.param(IP6("2001:db8::1", ICMP6(143), hops=1), id="MLD to no group"),
    pytest.param(IP4("203.0.113.9", Raw(2), ttl=1), id="IGMP to no group"),
    pytest.param(IP4("203.0.113.9", UDP(67, sport=1068)), id="DHCP from another port"),
    pytest.param(IP4("203.0.113.9", UDP(67, bytes(600), sport=68)), id="DHCP with a payload"),
    pytest.param(IP6("ff02::1:2", UDP(547, bytes(1300), sport=546)), id="DHCPv6 with a payload"),
    pytest.param(IP6("2001:db8::1", UDP(547, sport=546)), id="DHCPv6 off the link"),
    pytest.param(IP6(GROUP6, ICMP6(128), hops=255), id="an echo request"),
    pytest.param(IP6("2001:db8::1", ICMP6(1)), id="an ICMPv6 error of nobody's"),
]


@pytest.fixture(params=EGRESS)
def hook(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("packet", PASSES)
def test_what_a_host_needs_passes_even_lockdown(wall: Wall, hook: str, packet: Part) -> None:
    wall.policy(lockdown=Lockdown.HARD)

    assert wall.judge(hook, packet).reason is Reason.UPKEEP


@pytest.mark.parametrize("packet", REFUSED)
def test_what_only_looks_like_upkeep_is_judged_by_policy(
    wall: Wall, hook: str, packet: Part
) -> None:
    assert wall.judge(hook, packet).reason is Reason.NEVER_RESOLVED


def test_row_22_an_arp_frame_carries_arp_alone(wall: Wall) -> None:
    padded, stuffed = Ether(Part(ARP, bytes(46))), Ether(Part(ARP, bytes(65)))

    assert wall.judge(TC, padded).reason is Reason.UPKEEP
    assert wall.judge(TC, stuffed).reason is Reason.ETHERTYPE


def test_a_forwarded_packet_is_nobodys_upkeep(wall: Wall) -> None:
    packet = IP4("198.51.100.1", UDP(67, sport=68))

    assert wall.judge(TC, packet, came_in=9).verdict is DENY
    assert wall.judge(TC, packet).reason is Reason.UPKEEP


@pytest.mark.parametrize(
    ("packet", "rate"),
    [
        pytest.param(Ether(Part(ARP, bytes(46))), 1000, id="ARP"),
        pytest.param(Ether(Part(EAPOL, bytes(1400))), 20, id="EAPOL"),
        pytest.param(IP6(GROUP6, ICMP6(135), hops=255), 1000, id="ND"),
        pytest.param(IP4("198.51.100.1", UDP(67, sport=68)), 20, id="DHCP"),
    ],
)
def test_row_22_upkeep_past_its_rate_is_refused(
    wall: Wall, packet: Part | bytes, rate: int
) -> None:
    for hook in (TC,) if isinstance(packet, bytes) else EGRESS:
        wall.reset()

        wall.run(hook, packet, repeat=rate + 100)

        counters = wall.sink.counters()
        # a run of 20 ms may straddle two seconds, never three
        assert rate <= counters[Reason.UPKEEP].allowed <= 2 * rate
        passed = counters[Reason.UPKEEP].allowed
        assert counters[Reason.UPKEEP_RATE].denied == rate + 100 - passed
