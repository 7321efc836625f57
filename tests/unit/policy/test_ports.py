from __future__ import annotations

import pytest

from dnsfw.model import PortRange, PortSet
from dnsfw.policy.ports import (
    ANY,
    KNOWN,
    chunks,
    describe,
    parse_ports,
    suffix_text,
    take,
)
from dnsfw.policy.problems import Wrong

TCP, UDP, ICMP, IPIP, GRE, ESP, SCTP, UDPLITE = 6, 17, 1, 4, 47, 50, 132, 136


def spans(made: PortSet) -> set[tuple[int, int, int]]:
    return {(r.proto, r.low, r.high) for r in made.ranges}


@pytest.mark.parametrize(
    ("ports", "proto", "covered"),
    [
        (None, None, {(ICMP, 0, 65535), (TCP, 0, 65535), (UDP, 0, 65535)}),
        (None, "any", {(ICMP, 0, 65535), (TCP, 0, 65535), (UDP, 0, 65535)}),
        ("443", None, {(TCP, 443, 443), (UDP, 443, 443)}),
        ("80,443", "tcp", {(TCP, 80, 80), (TCP, 443, 443)}),
        ("8000-8100", "udp", {(UDP, 8000, 8100)}),
        ("*", None, {(TCP, 0, 65535), (UDP, 0, 65535)}),
        ("*", "tcp", {(TCP, 0, 65535)}),
        (None, "tcp", {(TCP, 0, 65535)}),
        (None, "icmp", {(ICMP, 0, 65535)}),
        (None, "gre", {(GRE, 0, 65535)}),
        (None, "esp", {(ESP, 0, 65535)}),
        (None, "ipip", {(IPIP, 0, 65535)}),
        ("5000", "sctp", {(SCTP, 5000, 5000)}),
        ("5000", "udplite", {(UDPLITE, 5000, 5000)}),
        ("80,81,82", "tcp", {(TCP, 80, 82)}),
        ("80-90,85-95", "tcp", {(TCP, 80, 95)}),
        ("1-60000", "tcp", {(TCP, 1, 60000)}),
    ],
)
def test_ports_and_protocol_cover_what_the_language_says(
    ports: str | None, proto: str | None, covered: set[tuple[int, int, int]]
) -> None:
    assert spans(parse_ports(ports, proto)) == covered


@pytest.mark.parametrize(
    ("ports", "proto", "says"),
    [
        ("443", "6", "write /tcp"),
        (None, "17", "write /udp"),
        (None, "200", "never a number"),
        ("443", "TCP", "write /tcp"),
        ("443", "tpc", "known are any, tcp"),
        ("443", "tcp+udp", "one protocol a rule"),
        ("443", "any", "leave /any out"),
        ("443", "icmp", "icmp has no ports"),
        ("443", "gre", "gre has no ports"),
        ("0", None, "1 to 65535"),
        ("65536", None, "1 to 65535"),
        ("443-80", None, "write 80-443"),
        ("", None, "is no port"),
        ("80,", None, "is no port"),
        ("http", None, "is no port"),
        ("-80", None, "is no port"),
        ("80-", None, "is no port"),
        ("٤٤٣", None, "is no port"),
        ("9" * 5000, None, "is no port"),
        ("443", "", "unknown protocol"),
    ],
)
def test_wrong_ports_say_what_to_write(ports: str | None, proto: str | None, says: str) -> None:
    with pytest.raises(Wrong) as wrong:
        parse_ports(ports, proto)

    assert says in f"{wrong.value.message}; {wrong.value.remedy}"


def test_more_ranges_than_a_portset_holds_are_refused_with_a_remedy() -> None:
    eight = ",".join(str(port) for port in range(1, 17, 2))

    assert len(parse_ports(eight, None).ranges) == 16
    with pytest.raises(Wrong, match="18 port ranges"):
        parse_ports(eight + ",17", None)
    assert len(parse_ports(eight + ",17", "tcp").ranges) == 9


@pytest.mark.parametrize(
    ("ports", "proto", "text"),
    [
        (None, None, ""),
        ("443", None, ":443"),
        ("443,80", None, ":80,443"),
        ("80-81,82", "tcp", ":80-82/tcp"),
        ("*", None, ":*"),
        ("*", "tcp", "/tcp"),
        (None, "icmp", "/icmp"),
        ("9", "sctp", ":9/sctp"),
    ],
)
def test_the_canonical_text_reads_back_as_the_same_ports(
    ports: str | None, proto: str | None, text: str
) -> None:
    made = parse_ports(ports, proto)

    assert suffix_text(made) == text
    again_ports, _, again_proto = text.removeprefix(":").partition("/")
    again = parse_ports(again_ports or None if text.startswith(":") else None, again_proto or None)
    assert again == made


def test_describe_groups_protocols_that_share_their_ports() -> None:
    made = parse_ports("443", None).union(parse_ports(None, "icmp"))

    assert describe(made) == "icmp, 443/tcp+udp"
    assert describe(KNOWN) == "everything"
    assert describe(PortSet()) == "nothing"
    assert describe(PortSet.of([PortRange(99)])) == "99"


def test_chunks_fit_the_kernel_and_lose_nothing() -> None:
    many = PortSet.of(PortRange(TCP, port, port) for port in range(1, 101, 2))

    pieces = chunks(many)

    assert all(len(piece.ranges) <= 16 for piece in pieces)
    assert PortSet.of(r for piece in pieces for r in piece.ranges) == many
    assert chunks(PortSet()) == []


def test_take_divides_what_is_left() -> None:
    mine, left = take(parse_ports("443", "tcp"), ANY)

    assert spans(mine) == {(TCP, 443, 443)}
    assert not left.covers(TCP, 443)
    assert left.union(mine) == ANY
