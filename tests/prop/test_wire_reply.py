"""Replies: what is written is what is read, and aging is subtraction."""

from __future__ import annotations

from collections.abc import Sequence

import dnslib
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.model import Name
from dnsfw.wire import codes
from dnsfw.wire.message import Edns, Query, read_query, read_response
from dnsfw.wire.name import from_text
from dnsfw.wire.parts import HEADER
from dnsfw.wire.rdata import Svcb, read_svcb, rewrite_svcb, write_svcb
from dnsfw.wire.record import Record
from dnsfw.wire.reply import Template, write_query, write_reply
from dnsfw.wire.stream import Frames, frame

# Few labels, so that names share suffixes and compression has work.
names = st.lists(st.sampled_from(["a", "b", "www", "example", "com"]), max_size=5).map(
    lambda parts: from_text(".".join(parts) or ".")
)
ttls = st.integers(0, 2**31 - 1) | st.integers(0, 100)


def _rdata(rtype: int) -> st.SearchStrategy[bytes]:
    match rtype:
        case codes.A:
            return st.binary(min_size=4, max_size=4)
        case codes.AAAA:
            return st.binary(min_size=16, max_size=16)
        case codes.CNAME | codes.NS | codes.PTR:
            return names.map(bytes)
        case codes.MX:
            return st.tuples(st.binary(min_size=2, max_size=2), names).map(b"".join)
        case codes.SRV:
            return st.tuples(st.binary(min_size=6, max_size=6), names).map(b"".join)
        case codes.SOA:
            times = st.binary(min_size=20, max_size=20)
            return st.tuples(names, names, times).map(b"".join)
        case _:
            return st.binary(max_size=40)


TYPES = [codes.A, codes.AAAA, codes.CNAME, codes.NS, codes.PTR, codes.MX, codes.SRV, codes.SOA]
records = st.sampled_from([*TYPES, codes.TXT, codes.RRSIG, 65_280]).flatmap(
    lambda rtype: st.builds(Record, names, st.just(rtype), st.just(1), ttls, _rdata(rtype))
)
sections = st.lists(records, max_size=6)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    edns = draw(st.none() | st.builds(Edns, st.integers(0, 65_535), st.booleans()))
    name = draw(names)
    spelt = bytes(draw(st.sampled_from([name, name.upper()])))
    lengths = bytearray(spelt)
    for at, octet in enumerate(name):
        if octet < 64:
            lengths[at] = octet
    flags = draw(st.sampled_from([0, 0x100, 0x110, 0x120, 0x130, 0x140]))
    qtype = draw(st.sampled_from(TYPES))
    question = bytes(lengths) + qtype.to_bytes(2, "big") + b"\0\1"
    return Query(draw(st.integers(0, 65_535)), flags, name, qtype, 1, question, edns)


@given(st.integers(0, 65_535), names, st.integers(1, 40), st.booleans(), st.booleans())
def test_a_query_of_ours_is_read_back(id: int, name: Name, qtype: int, do: bool, cd: bool) -> None:
    got = read_query(write_query(id, name, qtype, do=do, cd=cd))

    assert (got.id, got.name, got.qtype, got.do, got.cd, got.rd) == (id, name, qtype, do, cd, True)


@given(queries(), sections, sections, st.integers(0, 10))
def test_a_reply_is_read_back(
    query: Query, answers: list[Record], authority: list[Record], rcode: int
) -> None:
    wire = write_reply(query, rcode, answers, authority, limit=65_535)

    got = read_response(wire)

    assert (got.id, got.name, got.qtype, got.rcode) == (query.id, query.name, query.qtype, rcode)
    assert wire[12 : 12 + len(query.question)] == query.question
    assert folded(got.answers) == folded(answers)
    assert folded(got.authority) == folded(authority)
    assert (got.edns is None) is (query.edns is None)


def folded(found: Sequence[Record]) -> list[Record]:
    """Names in rdata may be shown in the case of the question."""
    return [r._replace(rdata=r.rdata.lower()) for r in found]


@given(queries(), sections)
def test_dnslib_finds_every_record_of_a_reply(query: Query, answers: list[Record]) -> None:
    plain = [r for r in answers if r.rtype in TYPES]  # the others' rdata is noise

    got = dnslib.DNSRecord.parse(write_reply(query, 0, plain, limit=65_535))

    assert [(rr.rtype, rr.ttl) for rr in got.rr] == [(r.rtype, r.ttl) for r in plain]


@given(queries(), sections, sections, st.integers(0, 200), st.booleans())
def test_rendering_equals_writing_what_time_has_left(
    query: Query, answers: list[Record], authority: list[Record], age: int, ad: bool
) -> None:
    def aged(found: list[Record]) -> list[Record]:
        return [r._replace(ttl=max(0, r.ttl - age)) for r in found]

    template = Template(query.name, 0, answers, authority, ad=ad, ede=(3, "old"))

    rendered = template.render(query, age, limit=65_535)

    assert rendered == write_reply(
        query, 0, aged(answers), aged(authority), ad=ad, ede=(3, "old"), limit=65_535
    )


@given(queries(), sections, st.integers(512, 1232))
def test_no_reply_is_over_its_limit(query: Query, answers: list[Record], limit: int) -> None:
    wire = write_reply(query, 0, answers * 5, ede=(15, "x" * 300), limit=limit)

    assert len(wire) <= limit
    assert HEADER.unpack_from(wire)[2] == 1
    if read_response(wire).tc:
        assert HEADER.unpack_from(wire)[3:5] == (0, 0)


@given(st.lists(st.binary(min_size=12, max_size=60), max_size=8), st.data())
def test_frames_come_out_however_the_stream_is_cut(
    messages: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(frame(message) for message in messages)
    frames = Frames()
    out: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        out += frames.feed(stream[:size])
        stream = stream[size:]

    assert out == messages
    assert frames.pending == 0


params = st.dictionaries(st.sampled_from([1, 2, 3, 5, 7, 65_400]), st.binary(max_size=10))
hints = st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=4).map(b"".join)


@given(names, st.integers(0, 65_535), params, st.none() | hints, st.binary(min_size=4, max_size=4))
def test_a_rewritten_binding_is_whole_and_holds_only_what_passed(
    target: Name, priority: int, found: dict[int, bytes], hint: bytes | None, kept: bytes
) -> None:
    if hint is not None:
        found = found | {4: hint}
    binding = Svcb(priority, target, tuple(sorted(found.items())))
    record = Record(target, codes.HTTPS, 1, 60, write_svcb(binding))

    got = read_svcb(rewrite_svcb(record, lambda addr: addr[-4:] >= kept, frozenset({5})).rdata)

    assert read_svcb(record.rdata) == binding
    assert all(addr[-4:] >= kept for addr in got.hints)
    assert {key for key, _ in got.params} >= found.keys() - {4, 5}
    assert 5 not in dict(got.params)
