from __future__ import annotations

import time

import pytest

from dnsfw.errors import WireError
from dnsfw.wire import codes
from dnsfw.wire.message import Edns, Record, Response, echoes, read_response
from dnsfw.wire.name import ROOT
from tests.support.rawdns import NAME_AT_12, WWW, message, name, opt, query, question, record

CDN = name("cdn.example.com")
SOA = record(b"\2ns\xc0\x10" + b"\0" + bytes(20), rtype=codes.SOA, owner=b"\xc0\x10")


def test_an_answer_is_read_section_by_section() -> None:
    wire = message(
        question()
        + record(b"\3cdn\xc0\x10", rtype=codes.CNAME, ttl=300)
        + record(b"\xc0\0\2\1", owner=CDN)
        + SOA
        + record(bytes(4), owner=CDN)
        + opt(ttl=0x8000),
        answers=2,
        authority=1,
        additional=2,
        flags=0x81A0,
    )

    assert read_response(wire) == Response(
        0x1234,
        0x81A0,
        0,
        WWW,
        1,
        1,
        (
            Record(WWW, codes.CNAME, 1, 300, CDN),
            Record(CDN, codes.A, 1, 60, b"\xc0\0\2\1"),
        ),
        (
            Record(
                name("example.com"), codes.SOA, 1, 60, name("ns.example.com") + b"\0" + bytes(20)
            ),
        ),
        Edns(1232, True),
    )


def test_header_bits_are_properties() -> None:
    got = read_response(message(question(), flags=0x8420))

    assert (got.aa, got.tc, got.ad) == (True, False, True)
    assert not read_response(message(question(), flags=0x8020)).aa


def test_the_rcode_is_extended_by_opt() -> None:
    assert read_response(message(question() + opt(ttl=0x0100_0000), additional=1)).rcode == 16
    assert read_response(message(question(), flags=0x8183)).rcode == codes.Rcode.NXDOMAIN


def test_nothing_is_learned_from_a_truncated_answer() -> None:
    wire = message(question() + record(bytes(4)) + record(bytes(4))[:-2], answers=9, flags=0x8380)

    got = read_response(wire)

    assert got.tc
    assert (got.answers, got.rcode) == ((), 0)


def test_octets_after_the_last_record_are_ignored() -> None:
    assert read_response(message(question()) + b"padding").answers == ()


@pytest.mark.parametrize("rcode", [1, 2, 4, 5])
def test_an_error_may_come_as_a_header_alone(rcode: int) -> None:
    wire = message(questions=0, flags=0x8180 | rcode)

    assert read_response(wire) == Response(0x1234, 0x8180 | rcode, rcode, ROOT, 0, 0)
    assert echoes(wire, query())


@pytest.mark.parametrize("rcode", [0, 3])
def test_no_data_and_no_domain_never_come_as_a_header_alone(rcode: int) -> None:
    wire = message(questions=0, flags=0x8180 | rcode)

    assert not echoes(wire, query())
    with pytest.raises(WireError):
        read_response(wire)


@pytest.mark.parametrize(
    ("why", "wire"),
    [
        ("nothing", b""),
        ("half a header", message()[:11]),
        ("a query", query()),
        ("another opcode", message(question(), flags=0xA180)),
        ("no question", message(record(bytes(4)), questions=0, answers=1)),
        ("two questions", message(question() * 2, questions=2)),
        ("question cut", message(question()[:-1])),
        ("more answers counted than there are", message(question() + record(bytes(4)), answers=2)),
        ("65,535 answers counted", message(question() + record(bytes(4)), answers=65_535)),
        ("authority counted and missing", message(question(), authority=1)),
        ("additional counted and missing", message(question(), additional=1)),
        ("OPT among the answers", message(question() + opt(), answers=1)),
        ("OPT in authority", message(question() + opt(), authority=1)),
        ("two OPT", message(question() + opt() + opt(), additional=2)),
        ("EDNS option that lies", message(question() + opt(b"\0\1\0\5"), additional=1)),
        (
            "pointer loop in an owner",
            message(question() + record(b"", owner=b"\xc0\x21"), answers=1),
        ),
        ("pointer loop in rdata", message(question() + record(b"\xc0\x2d", rtype=5), answers=1)),
        ("answer cut in its rdata", message(question() + record(bytes(4))[:-1], answers=1)),
        ("compressed question", message(question(NAME_AT_12))),
    ],
)
def test_an_answer_that_lies_is_junk(why: str, wire: bytes) -> None:
    with pytest.raises(WireError):
        read_response(wire)


def test_four_thousand_addresses_are_read() -> None:
    wire = message(question() + record(bytes(4)) * 4000, answers=4000)

    assert len(read_response(wire).answers) == 4000


def test_a_message_made_of_pointer_chains_takes_no_time() -> None:
    chain = b"".join((0xC000 | 48 + 2 * n).to_bytes(2, "big") for n in range(8000))
    body = question() + record(b"\0" * 3 + chain, rtype=codes.TXT)
    records = b"".join(
        record(bytes(4), owner=(0xC000 | 60 + 2 * (n % 8000)).to_bytes(2, "big"))
        for n in range(2900)
    )
    began = time.perf_counter()

    with pytest.raises(WireError):
        read_response(message(body + records, answers=2901))

    assert time.perf_counter() - began < 0.1


def test_the_answer_to_our_query_echoes_it() -> None:
    assert echoes(message(question() + record(bytes(4)), answers=1), query(WWW, opt()))


@pytest.mark.parametrize(
    ("why", "wire"),
    [
        ("another id", message(question(), id=0x1235)),
        ("a query", message(question(), flags=0x0100)),
        ("another opcode", message(question(), flags=0xA180)),
        ("another name", message(question(CDN))),
        ("another case", message(question(b"\3WWW\7example\3com\0"))),
        ("another type", message(question(qtype=28))),
        ("another class", message(question(qclass=3))),
        ("two questions", message(question() * 2, questions=2)),
        ("no question", message(question(), questions=0)),
        ("question cut", message(question()[:-1])),
        ("short", message()[:11]),
        ("nothing", b""),
    ],
)
def test_what_does_not_echo_our_query_is_not_its_answer(why: str, wire: bytes) -> None:
    assert not echoes(wire, query())


def test_a_query_without_a_question_is_echoed_by_nothing() -> None:
    assert not echoes(message(question()), query()[:14])
