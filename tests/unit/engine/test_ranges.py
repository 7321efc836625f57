"""The kind of an address, in every disguise that an IPv4 address can wear."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest

from dnsfw.engine.ranges import Kind, embedded, is_loopback, kind
from dnsfw.model import Addr, addr_from


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0", Kind.SPECIAL), ("0.255.255.255", Kind.SPECIAL), ("1.0.0.0", Kind.ORDINARY),
        ("126.255.255.255", Kind.ORDINARY), ("127.0.0.0", Kind.SPECIAL),
        ("127.255.255.255", Kind.SPECIAL), ("128.0.0.0", Kind.ORDINARY),
        ("169.253.255.255", Kind.ORDINARY), ("169.254.0.0", Kind.SPECIAL),
        ("169.255.0.0", Kind.ORDINARY), ("223.255.255.255", Kind.ORDINARY),
        ("224.0.0.0", Kind.SPECIAL), ("239.255.255.255", Kind.SPECIAL),
        ("255.255.255.255", Kind.SPECIAL), ("9.255.255.255", Kind.ORDINARY),
        ("10.0.0.0", Kind.PRIVATE), ("10.255.255.255", Kind.PRIVATE), ("11.0.0.0", Kind.ORDINARY),
        ("100.63.255.255", Kind.ORDINARY), ("100.64.0.0", Kind.PRIVATE),
        ("100.127.255.255", Kind.PRIVATE), ("100.128.0.0", Kind.ORDINARY),
        ("172.15.255.255", Kind.ORDINARY), ("172.16.0.0", Kind.PRIVATE),
        ("172.31.255.255", Kind.PRIVATE), ("172.32.0.0", Kind.ORDINARY),
        ("192.168.0.0", Kind.PRIVATE), ("192.169.0.0", Kind.ORDINARY),
        ("169.254.169.254", Kind.PRIVATE), ("168.63.129.16", Kind.PRIVATE),
        ("192.0.2.1", Kind.ORDINARY), ("::", Kind.SPECIAL), ("::1", Kind.SPECIAL),
        ("::808:808", Kind.SPECIAL), ("fe80::1", Kind.SPECIAL), ("febf:ffff::1", Kind.SPECIAL),
        ("fec0::1", Kind.PRIVATE), ("ff02::1", Kind.SPECIAL), ("fc00::1", Kind.PRIVATE),
        ("fdff:ffff::1", Kind.PRIVATE), ("fbff::1", Kind.ORDINARY),
        ("2001:db8::1", Kind.ORDINARY), ("fe80::a9fe:a9fe", Kind.PRIVATE),
    ],
)  # fmt: skip
def test_the_borders_of_every_range(text: str, expected: Kind) -> None:
    assert kind(addr_from(text)) is expected


FORMS = {
    "mapped": lambda v4: bytes(10) + b"\xff\xff" + v4,
    "nat64": lambda v4: bytes.fromhex("0064ff9b0000000000000000") + v4,
    "nat64 local, /96": lambda v4: bytes.fromhex("0064ff9b0001000000000000") + v4,
    "nat64 local, /48": lambda v4: (
        bytes.fromhex("0064ff9b0001") + v4[:2] + b"\0" + v4[2:] + bytes(5)
    ),
    "6to4": lambda v4: b"\x20\x02" + v4 + bytes(9) + b"\x01",
    "teredo": lambda v4: bytes.fromhex("20010000") + bytes(8) + bytes(octet ^ 255 for octet in v4),
    "isatap": lambda v4: bytes.fromhex("20010db800000000") + b"\0\0\x5e\xfe" + v4,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0"])
def test_row_4_and_73_what_is_not_ordinary_is_special_in_a_disguise(form: str, text: str) -> None:
    addr = Addr(FORMS[form](IPv4Address(text).packed))

    assert kind(addr, ipv6=True) is Kind.SPECIAL


@pytest.mark.parametrize("form", FORMS)
def test_an_ordinary_address_is_ordinary_in_a_disguise(form: str) -> None:
    v4 = IPv4Address("192.0.2.7").packed
    addr = Addr(FORMS[form](v4))

    assert kind(addr, ipv6=True) is Kind.ORDINARY
    if form != "mapped":
        assert embedded(addr) == addr_from("192.0.2.7")


def test_own_addresses_are_private_and_in_a_disguise_special() -> None:
    own = frozenset({addr_from("198.51.100.1")})

    assert kind(addr_from("198.51.100.1"), own) is Kind.PRIVATE
    assert kind(addr_from("64:ff9b::c633:6401"), own) is Kind.SPECIAL
    assert kind(addr_from("198.51.100.2"), own) is Kind.ORDINARY


def test_loopback_is_127_and_1() -> None:
    assert is_loopback(addr_from("127.9.9.9")) and is_loopback(addr_from("::1"))
    assert not is_loopback(addr_from("128.0.0.1"))
    assert not is_loopback(Addr(IPv6Address("::2").packed))


def at_length(size: int, v4: bytes) -> bytes:
    """RFC 6052, section 2.2: 2001:db8:…/size with an IPv4 address in it."""
    head = bytes.fromhex("20010db8012203440000000000000000")[: size // 8]
    if size == 96:
        return head + v4
    bits = head + v4
    return (bits[:8] + b"\0" + bits[8:]).ljust(16, b"\0")


@pytest.mark.parametrize("size", [32, 40, 48, 56, 64, 96])
def test_row_122_what_a_translator_of_this_network_makes_of_an_address_is_judged(
    size: int,
) -> None:
    """The vectors are those of RFC 6052, section 2.4, with other addresses."""
    net = IPv6Network((at_length(size, bytes(4)), size))
    for text, expected in (("10.0.0.1", Kind.SPECIAL), ("127.0.0.1", Kind.SPECIAL),
                           ("192.0.2.33", Kind.ORDINARY)):  # fmt: skip
        addr = Addr(at_length(size, ip_address(text).packed))

        assert embedded(addr, (net,)) == addr_from(text)
        assert kind(addr, nat64=(net,)) is expected
    assert kind(Addr(at_length(size, ip_address("10.0.0.1").packed))) is Kind.ORDINARY  # unknown


def test_row_122_a_prefix_of_the_site_itself_says_what_is_inside() -> None:
    net = IPv6Network("fd00:64::/96")

    assert kind(addr_from("fd00:64::c000:207"), nat64=(net,)) is Kind.ORDINARY
    assert kind(addr_from("fd00:64::a00:1"), nat64=(net,)) is Kind.SPECIAL
    assert kind(addr_from("fd00:65::1"), nat64=(net,)) is Kind.PRIVATE
