"""What a packet may not look like, whatever the policy says of its destination.

Every table holds its positive control: the nearest packet that must pass.
"""

from __future__ import annotations

import pytest

from dnsfw.model import Reason
from tests.support.packets import (
    ACK,
    EAPOL,
    ICMP,
    ICMP6,
    IP4,
    IP6,
    LSRR,
    MPLS,
    PPPOE,
    QINQ,
    SLOW,
    SSRR,
    TCP,
    UDP,
    VLAN,
    Cut,
    DestOptions,
    Ether,
    Fragment,
    HopOptions,
    Part,
    Raw,
    Routing,
)
from tests.support.wall import ALLOW, DENY, Wall, hooks_for

OPEN4, OPEN6 = "192.0.2.10", "2001:db8::10"
SHUT4 = "203.0.113.9"
HTTPS = TCP(443)


def table(*rows: tuple[str, Part | bytes, Reason]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("packet", "reason"), [pytest.param(packet, reason, id=id) for id, packet, reason in rows]
    )


def check(wall: Wall, packet: Part | bytes, reason: Reason) -> None:
    """443 of two addresses is open; each hook must say this reason, and what goes with it."""
    passes = reason in (Reason.GRANTED, Reason.UPKEEP, Reason.FLOW)
    for hook in hooks_for(packet):
        wall.reset()
        wall.open(OPEN4, OPEN6)

        said = wall.judge(hook, packet)

        assert (said.reason, said.verdict) == (reason, ALLOW if passes else DENY), hook


@table(
    ("an address never resolved", IP4(SHUT4, HTTPS), Reason.NEVER_RESOLVED),
    ("an open one", IP4(OPEN4, HTTPS), Reason.GRANTED),
    ("an open one, v6", IP6(OPEN6, HTTPS), Reason.GRANTED),
)
def test_the_packet_hooks_tell_open_from_shut(wall: Wall, packet: Part, reason: Reason) -> None:
    check(wall, packet, reason)


def _behind(kind: int, *rest: int) -> bytes:
    """An Ethernet frame of this type whose payload is an IPv4 packet to an open address."""
    return Ether(Part(kind, bytes(rest) + IP4(OPEN4, HTTPS).wire))


@table(
    ("a frame whose type says IPv6 and whose packet is IPv4",
     Ether(Part(0x86DD, IP4(OPEN4, HTTPS).wire + bytes(40))), Reason.BAD_IP),
    ("a frame whose type says IPv4 and whose packet is IPv6",
     Ether(Part(0x0800, IP6(OPEN6, HTTPS).wire)), Reason.BAD_IP),
    ("an honest frame", Ether(IP4(OPEN4, HTTPS)), Reason.GRANTED),
)
def test_row_19_the_frame_is_parsed_not_believed(
    wall: Wall, packet: bytes, reason: Reason
) -> None:
    check(wall, packet, reason)


@table(
    ("one tag", Ether(IP4(OPEN4, HTTPS), tags=[VLAN]), Reason.GRANTED),
    ("one tag, shut inside", Ether(IP4(SHUT4, HTTPS), tags=[VLAN]), Reason.NEVER_RESOLVED),
    ("QinQ", Ether(IP6(OPEN6, HTTPS), tags=[QINQ, VLAN]), Reason.GRANTED),
    ("QinQ, shut inside", Ether(IP4(SHUT4, HTTPS), tags=[QINQ, VLAN]), Reason.NEVER_RESOLVED),
    ("three tags", Ether(IP4(OPEN4, HTTPS), tags=[QINQ, VLAN, VLAN]), Reason.VLAN_DEEP),
    ("four tags", Ether(IP4(OPEN4, HTTPS), tags=[VLAN] * 4), Reason.VLAN_DEEP),
    ("a tag and no type", Ether(IP4(OPEN4, HTTPS), tags=[VLAN])[:14], Reason.SHORT),
    ("a foreign type behind a tag", Ether(Part(MPLS, bytes(40)), tags=[VLAN]), Reason.ETHERTYPE),
)
def test_row_20_tags_are_looked_through_twice_and_no_deeper(
    wall: Wall, packet: bytes, reason: Reason
) -> None:
    check(wall, packet, reason)


@table(
    ("MPLS", _behind(MPLS, 0, 0, 1, 64), Reason.ETHERTYPE),
    ("PPPoE", _behind(PPPOE, 0x11, 0, 0, 1, 0, 50, 0, 0x21), Reason.ETHERTYPE),
    ("LLC and SNAP", _behind(60, 0xAA, 0xAA, 3, 0, 0, 0, 8, 0), Reason.ETHERTYPE),
    ("a length of 0", _behind(0), Reason.ETHERTYPE),
    ("0x9100, the old QinQ", _behind(0x9100, 0, 5, 8, 0), Reason.ETHERTYPE),
    ("jumbo LLC", _behind(0x8870), Reason.ETHERTYPE),
    ("LLDP", _behind(0x88CC), Reason.ETHERTYPE),
    ("LACP to anywhere", _behind(SLOW), Reason.ETHERTYPE),
    ("LACP that stays on the link",
     Ether(Part(SLOW, bytes(50)), dst=bytes.fromhex("0180c2000002")), Reason.UPKEEP),
    ("ARP", Ether(Part(0x0806, bytes(28))), Reason.UPKEEP),
    ("EAPOL", Ether(Part(EAPOL, bytes(10))), Reason.UPKEEP),
)
def test_row_21_only_ip_and_what_a_link_needs_leaves(
    wall: Wall, packet: bytes, reason: Reason
) -> None:
    check(wall, packet, reason)


@table(
    ("loose source route", IP4(OPEN4, HTTPS, options=bytes([LSRR, 7, 4, 203, 0, 113, 9])),
     Reason.SOURCE_ROUTE),
    ("strict source route", IP4(OPEN4, HTTPS, options=bytes([SSRR, 7, 4, 203, 0, 113, 9])),
     Reason.SOURCE_ROUTE),
    ("a source route behind padding",
     IP4(OPEN4, HTTPS, options=bytes([1, 1, 1, LSRR, 7, 4, 203, 0, 113, 9])),
     Reason.SOURCE_ROUTE),
    ("a source route behind another option",
     IP4(OPEN4, HTTPS, options=bytes([7, 7, 4, 0, 0, 0, 0, LSRR, 7, 4, 203, 0, 113, 9])),
     Reason.SOURCE_ROUTE),
    ("an option of no length", IP4(OPEN4, HTTPS, options=bytes([7, 0])), Reason.BAD_IP),
    ("an option of length 1", IP4(OPEN4, HTTPS, options=bytes([7, 1])), Reason.BAD_IP),
    ("40 bytes of padding", IP4(OPEN4, HTTPS, options=b"\1" * 40), Reason.GRANTED),
    ("record route", IP4(OPEN4, HTTPS, options=bytes([7, 7, 4, 0, 0, 0, 0])), Reason.GRANTED),
    ("the bytes of a source route after the end of the list",
     IP4(OPEN4, HTTPS, options=bytes([0, LSRR, 7, 4, 203, 0, 113, 9])), Reason.GRANTED),
)
def test_row_23_a_source_route_is_refused_wherever_it_hides(
    wall: Wall, packet: Part, reason: Reason
) -> None:
    check(wall, packet, reason)


@table(
    ("segments left", IP6(OPEN6, Routing(HTTPS, left=1)), Reason.ROUTING_HEADER),
    ("type 0", IP6(OPEN6, Routing(HTTPS, left=1, kind=0)), Reason.ROUTING_HEADER),
    ("128 segments left", IP6(OPEN6, Routing(HTTPS, left=128)), Reason.ROUTING_HEADER),
    ("behind options", IP6(OPEN6, HopOptions(Routing(HTTPS, left=1))), Reason.ROUTING_HEADER),
    ("inside a first fragment",
     IP6(OPEN6, Fragment(Routing(HTTPS, left=1), more=True)), Reason.ROUTING_HEADER),
    ("no segments left", IP6(OPEN6, Routing(HTTPS, left=0)), Reason.GRANTED),
)
def test_row_24_a_routing_header_with_segments_left_is_refused(
    wall: Wall, packet: Part, reason: Reason
) -> None:
    check(wall, packet, reason)


def _chain(length: int) -> Part:
    part = HTTPS
    for _ in range(length):
        part = DestOptions(part)
    return part


@table(
    ("six headers", IP6(OPEN6, _chain(6)), Reason.GRANTED),
    ("six headers, shut", IP6("2001:db8::9", _chain(6)), Reason.NEVER_RESOLVED),
    ("seven headers", IP6(OPEN6, _chain(7)), Reason.EXT_CHAIN),
    ("64 headers", IP6(OPEN6, _chain(64)), Reason.EXT_CHAIN),
    ("hop-by-hop and destination", IP6(OPEN6, HopOptions(DestOptions(HTTPS))), Reason.GRANTED),
    ("two fragment headers", IP6(OPEN6, Fragment(Fragment(HTTPS))), Reason.EXT_CHAIN),
    ("a header longer than the packet", IP6(OPEN6, HopOptions(HTTPS, words=200)), Reason.SHORT),
    ("a chain that ends in the air", IP6(OPEN6, Cut(DestOptions(HTTPS), 0, 4)), Reason.SHORT),
    ("no next header", IP6("2001:db8::9", Part(59, b"")), Reason.NEVER_RESOLVED),
)
def test_row_25_extension_headers_are_walked_to_a_bound(
    wall: Wall, packet: Part, reason: Reason
) -> None:
    check(wall, packet, reason)


@table(
    ("TCP of 8 bytes", IP4(OPEN4, Cut(HTTPS, 0, 8), more=True), Reason.FRAG_HEADER),
    ("TCP of 16 bytes", IP4(OPEN4, Cut(HTTPS, 0, 16), more=True), Reason.FRAG_HEADER),
    ("TCP at offset 1", IP4(OPEN4, Cut(HTTPS, 8), offset=1), Reason.FRAG_HEADER),
    ("UDP of 4 bytes", IP4(OPEN4, Cut(UDP(443), 0, 4), more=True), Reason.FRAG_HEADER),
    ("v6, TCP of 8 bytes",
     IP6(OPEN6, Fragment(Cut(HTTPS, 0, 8), more=True)), Reason.FRAG_HEADER),
    ("v6, the ports behind the first fragment",
     IP6(OPEN6, Fragment(Cut(DestOptions(HTTPS), 0, 8), more=True)), Reason.FRAG_HEADER),
    ("v6, TCP at offset 1", IP6(OPEN6, Fragment(Cut(HTTPS, 8), offset=1)), Reason.FRAG_HEADER),
    ("a later fragment of nothing", IP4(OPEN4, Raw(17), offset=100), Reason.FRAG_ORPHAN),
    ("v6, a later fragment of nothing",
     IP6(OPEN6, Fragment(Raw(17), offset=100)), Reason.FRAG_ORPHAN),
    ("a first fragment with its ports", IP4(OPEN4, UDP(443, bytes(16)), more=True),
     Reason.GRANTED),
    ("a first fragment to a shut port", IP4(OPEN4, UDP(53, bytes(16)), more=True),
     Reason.WRONG_PORT),
    ("v6, an atomic fragment is a whole packet", IP6(OPEN6, Fragment(HTTPS)), Reason.GRANTED),
    ("v6, an atomic fragment to a shut address",
     IP6("2001:db8::9", Fragment(HTTPS)), Reason.NEVER_RESOLVED),
)
def test_row_26_a_first_fragment_shows_its_ports(
    wall: Wall, packet: Part, reason: Reason
) -> None:
    check(wall, packet, reason)


@table(
    ("a version that lies", IP4(OPEN4, HTTPS, version=5), Reason.BAD_IP),
    ("a header of 16 bytes", IP4(OPEN4, HTTPS, words=4), Reason.BAD_IP),
    ("a header longer than the packet", IP4(OPEN4, HTTPS, words=15), Reason.BAD_IP),
    ("a length past the end", IP4(OPEN4, HTTPS, length=1000), Reason.BAD_IP),
    ("a length below the header", IP4(OPEN4, HTTPS, length=10), Reason.BAD_IP),
    ("a length of 0", IP4(OPEN4, HTTPS, length=0), Reason.BAD_IP),
    ("v6, a length past the end", IP6(OPEN6, HTTPS, length=1000), Reason.BAD_IP),
    ("v6, a length of 0", IP6(OPEN6, HTTPS, length=0), Reason.SHORT),
    ("TCP cut", IP4(OPEN4, Cut(HTTPS, 0, 12)), Reason.SHORT),
    ("TCP whose header is past the end", IP4(OPEN4, TCP(443, words=15)), Reason.SHORT),
    ("TCP whose header is too small", IP4(OPEN4, TCP(443, words=2)), Reason.SHORT),
    ("UDP cut", IP4(OPEN4, Cut(UDP(443), 0, 6)), Reason.SHORT),
    ("bytes behind the packet, as Ethernet pads", IP4(OPEN4, TCP(443, ACK), length=40),
     Reason.GRANTED),
    ("TCP with options", IP4(OPEN4, TCP(443, data=bytes(20), words=10)), Reason.GRANTED),
)
def test_headers_that_lie_about_their_length_are_refused(
    wall: Wall, packet: Part, reason: Reason
) -> None:
    check(wall, packet, reason)


@table(
    ("to a mapped address", IP6(f"::ffff:{OPEN4}", HTTPS), Reason.BAD_IP),
    ("from a mapped address", IP6(OPEN6, HTTPS, src=f"::ffff:{OPEN4}"), Reason.BAD_IP),
    ("the address itself", IP4(OPEN4, HTTPS), Reason.GRANTED),
)
def test_a_mapped_address_on_the_wire_borrows_no_grant(
    wall: Wall, packet: Part, reason: Reason
) -> None:
    check(wall, packet, reason)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(IP4(OPEN4, ICMP6(128)), id="ICMPv6 in IPv4"),
        pytest.param(IP6(OPEN6, ICMP(8)), id="ICMP in IPv6"),
        pytest.param(IP4(OPEN4, Raw(0)), id="protocol 0, an unused range's"),
    ],
)
def test_a_protocol_of_the_other_family_equals_no_rule(wall: Wall, packet: Part) -> None:
    for hook in hooks_for(packet):
        wall.reset()
        wall.open(OPEN4, OPEN6, text="icmp")

        assert wall.judge(hook, packet).reason is Reason.WRONG_PORT
        control = IP4(OPEN4, ICMP()) if packet.number == 0x0800 else IP6(OPEN6, ICMP6())
        assert wall.judge(hook, control).reason is Reason.GRANTED
