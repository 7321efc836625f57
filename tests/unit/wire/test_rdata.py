from __future__ import annotations

import dns.rdata
import pytest

from dnsfw.errors import WireError
from dnsfw.model import addr_from
from dnsfw.wire import codes
from dnsfw.wire.rdata import (
    ECH,
    IPV4HINT,
    Svcb,
    addresses,
    negative_ttl,
    read_svcb,
    rewrite_svcb,
    target,
    write_svcb,
)
from dnsfw.wire.record import Record
from dnsfw.wire.reply import soa
from tests.support.rawdns import WWW, name

V4 = addr_from("192.0.2.1")
OTHER = addr_from("192.0.2.2")
V6 = addr_from("2001:db8::1")


def of(rtype: int, rdata: bytes, rclass: int = codes.IN) -> Record:
    return Record(WWW, rtype, rclass, 60, rdata)


def https(text: str) -> Record:
    return of(codes.HTTPS, dns.rdata.from_text("IN", "HTTPS", text).to_wire() or b"")


def test_addresses_are_mapped_to_one_form() -> None:
    assert addresses(of(codes.A, b"\xc0\0\2\1")) == (V4,)
    assert addresses(of(codes.AAAA, V6)) == (V6,)


@pytest.mark.parametrize(
    "record",
    [
        of(codes.TXT, bytes(4)),
        of(codes.A, bytes(4), 3),
        of(codes.A, bytes(3)),
        of(codes.AAAA, bytes(4)),
    ],
)
def test_nothing_else_is_an_address(record: Record) -> None:
    assert addresses(record) == ()


def test_aliases_lead_to_a_canonical_name() -> None:
    assert target(of(codes.CNAME, b"\3CDN\0")) == name("cdn")
    assert target(of(codes.DNAME, b"\3CDN\0")) == name("cdn")
    assert target(of(codes.NS, b"\3cdn\0")) is None
    assert target(of(codes.CNAME, b"\3cdn\0", 3)) is None


def test_a_negative_answer_is_kept_for_the_smaller_of_ttl_and_minimum() -> None:
    record = soa(WWW, 30)

    assert negative_ttl([of(codes.NS, b"\0"), record]) == 30
    assert negative_ttl([Record(WWW, codes.SOA, 1, 5, record.rdata)]) == 5
    assert negative_ttl([]) is None


def test_a_binding_is_read_with_target_parameters_and_hints() -> None:
    got = read_svcb(
        https("1 CDN.example. alpn=h2 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1").rdata
    )

    assert (got.priority, got.target) == (1, name("cdn.example"))
    assert got.hints == (V4, OTHER, V6)
    assert dict(got.params)[1] == b"\2h2"


def test_an_alias_has_a_target_only() -> None:
    assert read_svcb(https("0 pool.example.").rdata) == Svcb(0, name("pool.example"))


@pytest.mark.parametrize(
    ("why", "rdata"),
    [
        ("nothing", b""),
        ("no target", b"\0\1"),
        ("target cut", b"\0\1\3ab"),
        ("compressed target", b"\0\1\xc0\x0c"),
        ("parameter cut", b"\0\1\0\0\1\0"),
        ("value cut", b"\0\1\0\0\1\0\5h2"),
        ("keys out of order", b"\0\1\0\0\4\0\4abcd\0\1\0\0"),
        ("key twice", b"\0\1\0\0\1\0\0\0\1\0\0"),
        ("hint of five octets", b"\0\1\0\0\4\0\5abcde"),
        ("hint of nothing", b"\0\1\0\0\4\0\0"),
        ("v6 hint of four octets", b"\0\1\0\0\6\0\4abcd"),
        ("mandatory key missing", b"\0\1\0\0\0\0\2\0\1"),
        ("mandatory of nothing", b"\0\1\0\0\0\0\0"),
        ("mandatory of half a key", b"\0\1\0\0\0\0\3\0\1\0" + b"\0\1\0\0"),
        ("mandatory names itself", b"\0\1\0\0\0\0\2\0\0"),
        ("mandatory out of order", b"\0\1\0\0\0\0\4\0\3\0\1" + b"\0\1\0\3\2h2\0\3\0\2\0\1"),
    ],
)
def test_a_malformed_binding_is_an_error(why: str, rdata: bytes) -> None:
    with pytest.raises(WireError):
        read_svcb(rdata)


def test_only_hints_that_pass_stay() -> None:
    record = https("1 . alpn=h2 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1")

    got = rewrite_svcb(record, lambda addr: addr == OTHER)

    assert got == https("1 . alpn=h2 ipv4hint=192.0.2.2")


def test_a_key_that_goes_leaves_the_mandatory_list_too() -> None:
    record = https("1 . mandatory=alpn,ipv4hint alpn=h2 ipv4hint=192.0.2.1 port=8443")

    assert rewrite_svcb(record, lambda _: False) == https("1 . mandatory=alpn alpn=h2 port=8443")


def test_a_mandatory_list_that_is_empty_goes_as_well() -> None:
    record = https("1 . mandatory=ipv4hint ipv4hint=192.0.2.1")

    assert rewrite_svcb(record, lambda _: False) == https("1 .")


def test_dropped_keys_are_gone_and_the_rest_is_as_before() -> None:
    record = https("1 CDN.example. ech=AAYAAAAAAAA= ipv4hint=192.0.2.1 key65400=x")

    got = rewrite_svcb(record, lambda _: True, frozenset({ECH}))

    assert got == https("1 cdn.example. ipv4hint=192.0.2.1 key65400=x")
    assert rewrite_svcb(got, lambda _: True, frozenset({IPV4HINT})) == https(
        "1 cdn.example. key65400=x"
    )


def test_a_binding_written_is_the_binding_read() -> None:
    rdata = https("16 cdn.example. alpn=h2,h3 no-default-alpn port=53 ipv4hint=192.0.2.1").rdata

    assert write_svcb(read_svcb(rdata)) == rdata
