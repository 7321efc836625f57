from __future__ import annotations

import dnslib
import pytest

from dnsfw.wire import codes
from dnsfw.wire.message import read_response
from dnsfw.wire.record import Record
from dnsfw.wire.sections import Sections
from tests.support.rawdns import WWW, message, name, question

APEX = name("example.com")
CDN = name("a.cdn.example.net")


def body_of(*records: Record) -> bytes:
    sections = Sections(WWW)
    for record in records:
        sections.add(record)
    return bytes(sections.body)


def test_the_asked_name_becomes_two_octets() -> None:
    assert body_of(Record(WWW, codes.A, 1, 60, bytes(4)))[:2] == b"\xc0\x0c"


def test_a_suffix_of_the_asked_name_becomes_two_octets() -> None:
    assert body_of(Record(APEX, codes.A, 1, 60, bytes(4)))[:2] == b"\xc0\x10"


def test_the_owner_of_a_chain_points_at_the_alias_before_it() -> None:
    alias = Record(WWW, codes.CNAME, 1, 60, CDN)

    body = body_of(alias, Record(CDN, codes.A, 1, 60, bytes(4)))

    assert body.count(b"cdn") == 1
    assert body[12 : 12 + len(CDN)] == CDN


def test_rdata_of_types_that_may_not_be_compressed_stays_whole() -> None:
    srv = Record(WWW, codes.SRV, 1, 60, bytes(6) + WWW)
    svcb = Record(WWW, codes.HTTPS, 1, 60, b"\0\1" + WWW)

    assert body_of(srv).endswith(bytes(6) + WWW)
    assert body_of(svcb).endswith(b"\0\1" + WWW)


@pytest.mark.parametrize(
    "record",
    [
        Record(WWW, codes.NS, 1, 60, APEX),
        Record(WWW, codes.MX, 1, 60, b"\0\5" + CDN),
        Record(WWW, codes.SOA, 1, 60, CDN + APEX + bytes(20)),
        Record(WWW, codes.PTR, 1, 60, b"\0"),
        Record(APEX, codes.TXT, 1, 2**31 - 1, b"\3abc"),
        Record(CDN, codes.SRV, 1, 0, bytes(6) + CDN),
    ],
)
def test_a_record_reads_back_as_it_was(record: Record) -> None:
    wire = message(question() + body_of(record, record), answers=2)

    assert read_response(wire).answers == (record, record)
    dnslib.DNSRecord.parse(wire)


def test_no_pointer_leads_past_its_fourteen_bits() -> None:
    big = Record(WWW, codes.TXT, 1, 60, bytes(16_400))
    far = Record(CDN, codes.A, 1, 60, bytes(4))

    body = body_of(big, far, far)

    assert body.count(CDN) == 2


@pytest.mark.parametrize(("at", "pointer"), [(0x3FFE, 0x3FFE), (0x3FFF, 0x3FFF), (0x4000, None)])
def test_the_last_octet_that_a_pointer_reaches_is_used(at: int, pointer: int | None) -> None:
    before = 12 + len(question()) + 2 + 10
    filler = Record(WWW, codes.TXT, 1, 60, bytes(at - before))
    far = Record(name("net"), codes.A, 1, 60, bytes(4))

    body = body_of(filler, far, far)

    last = body[-14 - (2 if pointer else 5) : -14]
    assert last == (b"\3net\0" if pointer is None else (0xC000 | pointer).to_bytes(2, "big"))


def test_of_a_name_that_crosses_the_border_only_the_first_labels_are_pointed_at() -> None:
    filler = Record(WWW, codes.TXT, 1, 60, bytes(0x3FFF - (12 + len(question()) + 2 + 10)))
    far = Record(name("a.net"), codes.A, 1, 60, bytes(4))
    tail = Record(name("net"), codes.A, 1, 60, bytes(4))

    assert body_of(filler, far, tail)[-14 - 5 : -14] == b"\3net\0"
    assert body_of(filler, far, far)[-14 - 2 : -14] == b"\xff\xff"


def test_every_ttl_is_where_it_is_said_to_be() -> None:
    sections = Sections(WWW)
    sections.add(Record(WWW, codes.CNAME, 1, 0x01020304, CDN))
    sections.add(Record(CDN, codes.A, 1, 0x05060708, bytes(4)))

    found = [(sections.body[at : at + 4].hex(), ttl) for at, ttl in sections.ttls]

    assert found == [("01020304", 0x01020304), ("05060708", 0x05060708)]


def test_a_ttl_too_large_for_its_field_is_the_largest() -> None:
    sections = Sections(WWW)
    sections.add(Record(WWW, codes.A, 1, 2**40, bytes(4)))

    assert sections.ttls == [(6, 2**31 - 1)]
