"""Messages: nothing but WireError, both readers agree, dnslib sees the same records."""

from __future__ import annotations

import contextlib
from struct import error as StructError
from typing import Any

import dnslib
from dnslib.bit import get_bits
from dnslib.buffer import BufferError as DnslibBufferError
from dnslib.label import DNSLabelError
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfw.errors import WireError
from dnsfw.wire import codes
from dnsfw.wire.message import Response, echoes, peek, read_query, read_response
from dnsfw.wire.name import labels
from dnsfw.wire.query import Refuse
from dnsfw.wire.record import Record
from dnsfw.wire.reply import write_error
from tests.support.rawdns import WWW, message, name, opt, query, question, record

CDN = name("a.cdn.example.net")
# One message with each shape of rdata, compressed wherever a server might.
RICH = message(
    question()
    + record(b"\1a\3cdn\7example\3net\0", rtype=codes.CNAME, ttl=300)
    + record(b"\xc0\0\2\1", owner=b"\xc0\x2d")
    + record(bytes(15) + b"\1", owner=b"\xc0\x2d", rtype=codes.AAAA)
    + record(b"\0\5\xc0\x10", rtype=codes.MX)
    + record(b"\0\1\0\2\0\3\xc0\x10", rtype=codes.SRV)
    + record(b"\3abc", rtype=codes.TXT)
    + record(b"\xc0\x10\xc0\x0c" + bytes(range(20)), owner=b"\xc0\x10", rtype=codes.SOA)
    + record(b"\xc0\x0c", owner=b"\xc0\x10", rtype=codes.NS)
    + opt(b"\0\x0a\0\x08" + b"12345678", ttl=0x8000),
    answers=6,
    authority=2,
    additional=1,
)
QUERIES = [query(), query(WWW, opt(ttl=0x8000)), query(WWW, opt(b"\0\x0a\0\x08" + b"12345678"))]


@st.composite
def mutated(draw: st.DrawFn, *wires: bytes) -> bytes:
    """One of these messages with a few octets changed, cut or added."""
    wire = bytearray(draw(st.sampled_from(wires)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(wire) - 1))
        wire[at] = draw(st.integers(0, 255) | st.sampled_from([0, 1, 12, 41, 0xC0, 0xFF]))
    match draw(st.integers(0, 5)):  # mostly whole: a cut message is refused early
        case 0:
            del wire[draw(st.integers(0, len(wire))) :]
        case 1:
            wire += draw(st.binary(max_size=4))
    return bytes(wire)


@given(st.binary(max_size=100) | mutated(*QUERIES, RICH))
def test_any_octets_are_a_query_or_refused(wire: bytes) -> None:
    try:
        got = read_query(wire)
    except Refuse as refused:
        reply = write_error(refused)

        assert (reply is None) is refused.silent
        assert reply is None or reply[:2] == wire[:2]
    else:
        assert got.question.lower() == wire[12 : 12 + len(got.question)].lower()
        assert labels(got.name) is not None


@given(st.binary(max_size=100) | mutated(*QUERIES))
def test_peek_sees_nothing_that_the_full_reader_does_not(wire: bytes) -> None:
    peeked = peek(wire)
    if peeked is None:
        return

    full = read_query(wire)

    assert (peeked.id, peeked.flags, peeked.key, peeked.question) == (
        full.id, full.flags, full.key, full.question
    )  # fmt: skip
    assert (peeked.opt, peeked.do, peeked.cd, peeked.limit) == (
        full.opt, full.do, full.cd, full.limit
    )  # fmt: skip


@given(mutated(*QUERIES))
def test_equal_keys_mean_equal_questions(wire: bytes) -> None:
    peeked, plain = peek(wire), peek(QUERIES[0])
    assert plain is not None
    if peeked is None:
        return

    full = read_query(wire)

    assert (peeked.key == plain.key) is ((full.name, full.qtype, full.qclass) == (WWW, 1, 1))


@given(st.binary(max_size=100) | mutated(RICH))
def test_any_octets_are_a_response_or_a_wire_error(wire: bytes) -> None:
    with contextlib.suppress(WireError):
        got = read_response(wire)

        assert all(0 <= found.ttl < 2**31 for found in got.answers + got.authority)
        assert all(len(found.rdata) <= 65_535 for found in got.answers + got.authority)


@given(st.binary(max_size=60) | mutated(RICH), mutated(*QUERIES))
def test_echoing_never_raises_and_means_the_same_question(wire: bytes, asked: bytes) -> None:
    if echoes(wire, asked) and len(wire) > 12:
        with contextlib.suppress(WireError):
            got = read_response(wire)
            assert got.id == int.from_bytes(asked[:2], "big")
            with contextlib.suppress(WireError):
                assert got.name == read_query(asked).name


@settings(max_examples=400)
@given(mutated(RICH))
def test_dnslib_reads_the_same_message_where_both_read_one(wire: bytes) -> None:
    try:
        ours = read_response(wire)
    except WireError:
        return
    if ours.tc or wire[4:6] != b"\0\1":
        return
    try:
        theirs = dnslib.DNSRecord.parse(wire)
    # What dnslib says to labels outside ASCII, to odd rdata, and to messages it finds short.
    except (dnslib.DNSError, DNSLabelError, DnslibBufferError, StructError, ValueError):
        return

    assert_same(ours, theirs)


def assert_same(ours: Response, theirs: Any) -> None:
    assert (ours.id, ours.flags & 15) == (theirs.header.id, theirs.header.rcode)
    assert labels(ours.name) == lower(theirs.q.qname)
    assert (ours.qtype, ours.qclass) == (theirs.q.qtype, theirs.q.qclass)
    for mine, other in zip(ours.answers + ours.authority, theirs.rr + theirs.auth, strict=True):
        assert labels(mine.owner) == lower(other.rname)
        assert (mine.rtype, mine.rclass) == (other.rtype, other.rclass)
        assert mine.ttl == (0 if get_bits(other.ttl, 31) else other.ttl)
        if mine.rclass == codes.IN:
            assert_same_rdata(mine, other.rdata)


def assert_same_rdata(mine: Record, other: Any) -> None:
    match mine.rtype:
        case codes.A | codes.AAAA:
            assert mine.rdata == bytes(other.data)
        case codes.CNAME | codes.NS | codes.PTR:
            assert mine.rdata.lower() == flat(other.label)
        case codes.MX:
            assert mine.rdata[2:].lower() == flat(other.label)
            assert int.from_bytes(mine.rdata[:2], "big") == other.preference
        case codes.SRV:
            assert mine.rdata[6:].lower() == flat(other.target)
        case codes.SOA:
            assert mine.rdata[:-20].lower() == flat(other.mname) + flat(other.rname)


def lower(found: Any) -> tuple[bytes, ...]:
    return tuple(bytes(part).lower() for part in found.label)


def flat(found: Any) -> bytes:
    return b"".join(bytes([len(part)]) + part for part in lower(found)) + b"\0"


def test_the_message_that_is_mutated_is_one_that_both_read() -> None:
    ours = read_response(RICH)

    assert len(ours.answers) == 6
    assert ours.answers[1].owner == CDN
    assert_same(ours, dnslib.DNSRecord.parse(RICH))
