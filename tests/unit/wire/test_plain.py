"""What is read in one pass is what the whole reader reads, or nothing."""

from __future__ import annotations

from random import Random

import pytest

from dnsfw.errors import WireError
from dnsfw.model import addr_from
from dnsfw.wire.message import AAAA, AD, TXT, A, Rcode, Record, echoes, read_query, read_response
from dnsfw.wire.name import from_text
from dnsfw.wire.plain import read_addresses
from dnsfw.wire.reply import write_query, write_reply

NAME = from_text("www.example.com")
ASKED = write_query(4711, NAME, A)
ASKED6 = write_query(4711, NAME, AAAA)


def record(address: str, ttl: int = 300) -> Record:
    packed = addr_from(address)
    four = "." in address
    return Record(NAME, A if four else AAAA, 1, ttl, packed[12:] if four else packed)


def answered(*records: Record, asked: bytes = ASKED, **more: bool) -> bytes:
    return write_reply(read_query(asked), Rcode.NOERROR, records, **more)


def test_addresses_are_read_with_their_times() -> None:
    found = read_addresses(answered(record("192.0.2.1", 60), record("192.0.2.2", 30)), ASKED)

    assert found is not None
    assert found.found == [bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))]
    assert (found.ttl, found.most, found.ad) == (30, 60, False)


def test_ipv6_is_read_likewise_and_so_is_the_upstreams_word() -> None:
    wire = bytearray(answered(record("2001:db8::1"), asked=ASKED6))
    wire[3] |= AD

    found = read_addresses(bytes(wire), ASKED6)

    assert found is not None
    assert found.found == [addr_from("2001:db8::1")]
    assert found.ad


ODD = {
    "nothing": answered(),
    "another id": b"\0\0" + answered(record("192.0.2.1"))[2:],
    "another name": write_reply(
        read_query(write_query(4711, from_text("xww.example.com"), A)),
        Rcode.NOERROR,
        [Record(from_text("xww.example.com"), A, 1, 300, bytes(4))],
    ),
    "another type": answered(record("2001:db8::1"), asked=ASKED6),
    "another owner": answered(Record(from_text("x.example.com"), A, 1, 300, bytes(4))),
    "no time to live": answered(record("192.0.2.1", 0)),
    "the high bit": answered(record("192.0.2.1")).replace(b"\0\0\1\x2c\0\4", b"\x80\0\1\x2c\0\4"),
    "twice": answered(record("192.0.2.1"), record("192.0.2.1")),
    "an alias": answered(Record(NAME, 5, 1, 300, from_text("x.net"))),
    "cut": write_reply(read_query(ASKED), Rcode.NOERROR, [record("192.0.2.1")], limit=12),
    "an error": write_reply(read_query(ASKED), Rcode.NXDOMAIN, [record("192.0.2.1")]),
    "authority": write_reply(
        read_query(ASKED), Rcode.NOERROR, [record("192.0.2.1")], [Record(NAME, 2, 1, 9, NAME)]
    ),
    "octets behind": answered(record("192.0.2.1")) + b"\0",
    "no OPT where one is told": answered(record("192.0.2.1"))[:-11],
    "an error in the OPT": answered(record("192.0.2.1"))[:-6] + b"\1" + bytes(5),
    "an option": write_reply(
        read_query(ASKED), Rcode.NOERROR, [record("192.0.2.1")], ede=(15, "x")
    ),
    "empty": b"",
    "a header": answered(record("192.0.2.1"))[:12],
}


@pytest.mark.parametrize("wire", ODD.values(), ids=ODD)
def test_whatever_is_different_is_not_read(wire: bytes) -> None:
    assert read_addresses(wire, ASKED) is None


def test_other_types_are_not_read() -> None:
    asked = write_query(4711, NAME, TXT)
    wire = write_reply(read_query(asked), Rcode.NOERROR, [Record(NAME, TXT, 1, 300, b"\1x")])

    assert read_addresses(wire, asked) is None


def test_octets_at_random_are_read_as_the_whole_reader_does() -> None:
    rng, read = Random(4), 0
    for _ in range(20_000):
        asked, other = rng.choice(((ASKED, "2001:db8::9"), (ASKED6, "192.0.2.9")))
        mine = "192.0.2.{}" if asked is ASKED else "2001:db8::{}"
        count, times = rng.choice((1, 2)), (1, 300)
        records = [record(mine.format(n + 1), rng.choice(times)) for n in range(count)]
        if rng.random() < 0.05:
            records.append(record(other))
        wire = bytearray(answered(*records, asked=asked))
        for _ in range(rng.choice((0, 1, 1, 2))):
            wire[rng.randrange(len(wire))] = rng.choice((0, 1, 2, 12, 0xC0, rng.randrange(256)))
        if rng.random() < 0.1:
            del wire[rng.randrange(len(wire)) :]
        found = read_addresses(bytes(wire), asked)
        if found is None:
            continue
        read += 1
        assert echoes(bytes(wire), asked)
        try:
            said = read_response(bytes(wire))
        except WireError:
            pytest.fail("read where the whole reader reads nothing")
        assert (said.rcode, said.tc, said.authority) == (Rcode.NOERROR, False, ())
        assert [r.rdata for r in said.answers] == found.found
        assert {(r.owner, r.rclass) for r in said.answers} == {(NAME, 1)}
        assert min(r.ttl for r in said.answers) == found.ttl
        assert max(r.ttl for r in said.answers) == found.most
        assert said.ad == found.ad
    assert read > 1000
