from __future__ import annotations

import time

import pytest

from dnsfw.errors import WireError
from dnsfw.wire import codes
from dnsfw.wire.record import Record, read_record
from tests.support.rawdns import NAME_AT_12, WWW, message, name, question, record

HEAD = message(question())
AT = len(HEAD)
SHORT = name("a.example.com")
COMPRESSED = b"\1a\xc0\x10"  # a.example.com, by the question's second label


def read(wire: bytes) -> Record:
    found, end = read_record(HEAD + wire, AT, {})
    assert end == AT + len(wire)
    return found


def test_a_record_is_read_with_its_owner_whole() -> None:
    assert read(record(b"\xc0\0\2\1")) == Record(WWW, codes.A, codes.IN, 60, b"\xc0\0\2\1")


@pytest.mark.parametrize(
    ("rtype", "before", "after"),
    [
        (codes.NS, b"", b""),
        (codes.CNAME, b"", b""),
        (codes.PTR, b"", b""),
        (codes.DNAME, b"", b""),
        (codes.MX, b"\0\5", b""),
        (codes.KX, b"\0\5", b""),
        (codes.SRV, b"\0\1\0\2\0\3", b""),
        (codes.NAPTR, b"\0\1\0\2\1u\3sip\2ab", b""),
        (codes.SIG, bytes(18), b"signature"),
        (codes.NXT, b"", b"\x40"),
    ],
)
def test_names_inside_rdata_are_made_whole(rtype: int, before: bytes, after: bytes) -> None:
    got = read(record(before + COMPRESSED + after, rtype=rtype))

    assert got.rdata == before + SHORT + after


@pytest.mark.parametrize(
    ("rtype", "tail"), [(codes.SOA, bytes(20)), (codes.MINFO, b""), (codes.RP, b"")]
)
def test_both_names_of_a_pair_are_made_whole(rtype: int, tail: bytes) -> None:
    got = read(record(COMPRESSED + NAME_AT_12 + tail, rtype=rtype))

    assert got.rdata == SHORT + WWW + tail


def test_a_name_after_strings_is_found_by_their_lengths() -> None:
    got = read(record(b"\0\1\0\2\1u\3sip\0" + NAME_AT_12, rtype=codes.NAPTR))

    assert got.rdata == b"\0\1\0\2\1u\3sip\0" + WWW


def test_both_names_after_a_preference_are_made_whole() -> None:
    got = read(record(b"\0\5" + NAME_AT_12 + COMPRESSED, rtype=codes.PX))

    assert got.rdata == b"\0\5" + WWW + SHORT


def test_rdata_may_be_empty_at_the_very_end() -> None:
    assert read(record(b"", rtype=codes.TXT)).rdata == b""


def test_case_inside_rdata_is_kept_for_the_client() -> None:
    assert read(record(b"\6Office\0", rtype=codes.PTR)).rdata == b"\6Office\0"


@pytest.mark.parametrize(
    "rtype", [codes.TXT, codes.SVCB, codes.HTTPS, codes.RRSIG, codes.NSEC, 65_280]
)
def test_rdata_of_other_types_is_left_as_it_was_sent(rtype: int) -> None:
    assert read(record(COMPRESSED, rtype=rtype)).rdata == COMPRESSED


@pytest.mark.parametrize(
    ("sent", "meant"), [(0, 0), (1, 1), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**32 - 1, 0)]
)
def test_a_ttl_with_its_high_bit_set_is_zero(sent: int, meant: int) -> None:
    assert read(record(bytes(4), ttl=sent)).ttl == meant


@pytest.mark.parametrize(
    ("why", "wire"),
    [
        ("an A of three octets", record(bytes(3))),
        ("an A of five octets", record(bytes(5))),
        ("an A of none", record(b"")),
        ("an AAAA of four octets", record(bytes(4), rtype=codes.AAAA)),
        ("rdlength past the end", record(bytes(4), length=5)),
        ("rdlength of 65,535", record(bytes(4), length=65_535, rtype=codes.TXT)),
        ("fixed part cut", record(b"")[:-1]),
        ("owner alone", NAME_AT_12),
        ("rdlength shorter than its name", record(SHORT, rtype=codes.CNAME, length=5)),
        ("rdlength longer than its name", record(SHORT + b"xx", rtype=codes.CNAME)),
        ("CNAME of nothing", record(b"", rtype=codes.CNAME)),
        ("name that leads out of rdata", record(b"\3ab", rtype=codes.NS)),
        ("MX without a name", record(b"\0\5", rtype=codes.MX)),
        ("SOA without its times", record(b"\0\0", rtype=codes.SOA)),
        ("SOA with short times", record(b"\0\0" + bytes(19), rtype=codes.SOA)),
        ("NAPTR whose string runs out", record(b"\0\1\0\2\xff", rtype=codes.NAPTR)),
        ("NAPTR with two strings", record(b"\0\1\0\2\1u\0", rtype=codes.NAPTR)),
        ("NAPTR with three strings", record(b"\0\1\0\2\1u\0\0", rtype=codes.NAPTR)),
        ("MX of one octet", record(b"\0", rtype=codes.MX)),
        ("pointer to itself in rdata", record(b"\xc0" + bytes([AT + 12]), rtype=codes.CNAME)),
        ("pointer forward in rdata", record(b"\xc0\xff", rtype=codes.CNAME)),
    ],
)
def test_a_record_that_lies_about_a_length_is_an_error(why: str, wire: bytes) -> None:
    with pytest.raises(WireError):
        read_record(HEAD + wire, AT, {})


def test_an_address_of_another_class_has_another_form() -> None:
    assert read(record(b"\0\1\2", rclass=3)).rdata == b"\0\1\2"  # Chaosnet


def test_rdata_that_would_grow_past_its_length_field_is_an_error() -> None:
    long = b"\x3f" + b"a" * 63 + b"\x3f" + b"b" * 63 + b"\x3f" + b"c" * 63 + b"\0"
    head = message(question(long))
    wire = head + record(b"\xc0\x0c" + bytes(65_500), rtype=codes.NXT)

    with pytest.raises(WireError, match="too long"):
        read_record(wire, len(head), {})


def test_owners_are_walked_once_however_many_records_point_at_them() -> None:
    seen: dict[bytes, object] = {}
    wire = HEAD + record(bytes(4)) * 4000
    at = AT
    began = time.perf_counter()

    for _ in range(4000):
        _, at = read_record(wire, at, seen)  # type: ignore[arg-type]

    assert list(seen) == [NAME_AT_12]
    assert time.perf_counter() - began < 0.5
