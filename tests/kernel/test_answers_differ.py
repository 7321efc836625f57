"""The kernel's replies beside the daemon's, over many answers and over queries that were
bent: equal to the octet, or the kernel leaves the query alone. dnslib and dnspython read both.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.rrset
import pytest
from dnslib import DNSRecord

from dnsfw.datapath.answers import AnswerKey, fits
from dnsfw.engine.cache import seconds_since
from dnsfw.engine.refusals import failure, refusal
from dnsfw.model import SECOND, Name, Nanos, Reason
from dnsfw.wire.codes import AD, CD, IN, RD
from dnsfw.wire.name import from_text
from dnsfw.wire.query import Peek, peek
from dnsfw.wire.record import Record
from dnsfw.wire.reply import Template, soa
from tests.support.kernel_answers import (
    GUEST,
    LO,
    PORT,
    XDP,
    Kitchen,
    Told,
    Way,
    answer_of,
    name_of,
    opt_record,
    question,
)
from tests.support.wall import WEB, Wall, boottime

A, NS, CNAME, MX, TXT, AAAA, SRV, HTTPS = 1, 2, 5, 15, 16, 28, 33, 65
WAYS = pytest.mark.parametrize("way", [LO, GUEST, XDP], ids=str)
BORN = Nanos(boottime() - 5 * SECOND)  # all of them
SEED = 20261122
BENT = 4000


@dataclass(frozen=True, slots=True)
class Dish:
    """One entry: what is asked, and the reply."""

    name: Name
    qtype: int
    template: Template
    do: bool = False
    cd: bool = False
    refusal: bool = False

    def age(self) -> int:
        """In seconds, as the daemon counts them; a refusal does not age."""
        return 0 if self.refusal else seconds_since(BORN, boottime())


def corpus(rng: random.Random) -> Iterator[Dish]:
    """Answers of every kind and size, at names of every length."""
    for number in range(240):
        name = name_of(rng.choice([1, *range(3, 66), rng.randrange(66, 256)]))
        if len(name) > 6:
            name = Name(name[:1] + b"%05d" % number + name[6:]) if name[0] > 5 else name
        qtype = rng.choice([A, AAAA, TXT, MX, SRV, HTTPS, NS, 257, 65280])
        do, cd = rng.random() < 0.3, rng.random() < 0.3
        yield Dish(name, qtype, answered(rng, name, qtype), do, cd)
    for number, how in enumerate(["nxdomain", "refused", "nodata", "zero"] * 4):
        name = from_text(f"refused{number}.example.net")
        qtype = rng.choice([A, AAAA, TXT])
        reason = rng.choice([Reason.BY_NAME, Reason.NAME_DEFAULT, Reason.BAD_LABEL])
        template = refusal(name, qtype, how, reason, None)  # type: ignore[arg-type]
        yield Dish(name, qtype, template, refusal=True)
    for number in range(4):
        name = from_text(f"failed{number}.example.net")
        yield Dish(name, A, failure(name, (22 + number, "the upstream said nothing" * number)))


def answered(rng: random.Random, name: Name, qtype: int) -> Template:
    """A positive answer behind some aliases, or a negative one."""
    said = (rng.choice([15, 17, 22, 30]), "x" * rng.randrange(60)) if rng.random() < 0.3 else None
    aa, ad = rng.random() < 0.2, rng.random() < 0.4
    ttl = rng.choice([0, 1, 5, 6, 7, 8, 9, 10, 60, 300, 86400, 2**31 - 1])
    if rng.random() < 0.2:
        rcode = rng.choice([0, 3])
        return Template(name, rcode, authority=[soa(name, ttl)], ede=said, aa=aa, ad=ad)
    records, owner = [], name
    for number in range(rng.choice([0, 0, 0, 1, 2, 5])):
        alias = from_text(f"alias{number}.{'x' * rng.randrange(1, 40)}.example.org")
        records.append(Record(owner, CNAME, IN, ttl + number, alias))
        owner = alias
    for _ in range(rng.choice([0, 1, 1, 2, 3, 8, 20, 40, 70])):
        records.append(Record(owner, qtype, IN, ttl, rdata(rng, qtype)))
    return Template(name, rng.choice([0, 0, 0, 0, 2]), records, ede=said, aa=aa, ad=ad)


def rdata(rng: random.Random, qtype: int) -> bytes:
    host = from_text(f"h{rng.randrange(1000)}.example.org")
    if qtype == MX:
        return struct.pack("!H", rng.randrange(100)) + host
    if qtype == SRV:
        return struct.pack("!HHH", 1, 2, 443) + host
    if qtype == NS:
        return bytes(host)
    if qtype == HTTPS:
        return struct.pack("!H", 1) + b"\0" + struct.pack("!HH", 1, 3) + b"\2h2"
    if qtype == TXT:
        size = rng.randrange(1, 60)
        return bytes([size]) + rng.randbytes(size)
    if qtype == 257:
        return b"\0\5issue" + b"ca.example"
    return rng.randbytes({A: 4, AAAA: 16}.get(qtype, rng.randrange(1, 30)))


Dishes = dict[tuple[bytes, bool, bool], Dish]


@pytest.fixture
def table(wall: Wall) -> tuple[Kitchen, Dishes]:
    kitchen = Kitchen(wall)
    dishes: Dishes = {}
    for dish in corpus(random.Random(SEED)):
        pair = struct.pack("!HH", dish.qtype, IN)
        key = AnswerKey(WEB, dish.name, dish.qtype, dish.do, dish.cd)
        answer = answer_of(dish.template, BORN, Nanos(BORN + 1000 * SECOND), refusal=dish.refusal)
        if not kitchen.table.publish(key, answer):
            assert not fits(key, answer)
            continue
        dishes[(dish.name + pair, dish.do, dish.cd)] = dish
    assert len(dishes) > 200
    return kitchen, dishes


def cased(rng: random.Random, name: Name) -> Name:
    """Letters as a client with 0x20 writes them; lengths are below every letter."""
    return Name(bytes(o ^ 0x20 if 97 <= o <= 122 and rng.random() < 0.5 else o for o in name))


def both(
    kitchen: Kitchen, dishes: Dishes, way: Way, query: bytes, *, v6: bool = False, sport: int = PORT
) -> tuple[Told | None, bytes | None]:
    """What the kernel says, and what the daemon does in the same second: to a plain query of
    something that is ready; else None.
    """
    asked = peek(query)
    dish = dishes.get((asked.key, asked.do, asked.cd)) if asked and asked.flags & RD else None
    if asked is None or dish is None:
        return kitchen.ask(way, query, v6=v6, sport=sport), None
    while True:
        age = dish.age()
        reply = kitchen.ask(way, query, v6=v6, sport=sport)
        if age == dish.age():
            return reply, dish.template.render(asked, age)


@WAYS
@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
def test_every_answer_of_a_mixed_corpus_is_the_daemons(
    table: tuple[Kitchen, Dishes], way: Way, v6: bool
) -> None:
    kitchen, dishes = table
    rng = random.Random(SEED + 1)
    for dish in dishes.values():
        for _ in range(3):
            opt = opt_record(rng.choice([0, 512, 700, 1232, 4096]), do=dish.do)
            opt = opt if dish.do or rng.random() < 0.6 else b""
            flags = RD | (CD if dish.cd else 0) | (AD if rng.random() < 0.5 else 0)
            name = cased(rng, dish.name)
            query = question(name, dish.qtype, id=rng.randrange(65536), flags=flags, opt=opt)

            port = rng.randrange(1, 65536)
            reply, expected = both(kitchen, dishes, way, query, v6=v6, sport=port)

            assert reply is not None
            assert reply.checked().dns == expected
            reads_the_same(query, reply.dns, dish)


def reads_the_same(query: bytes, reply: bytes, dish: Dish) -> None:
    """Both libraries read the reply, and read in it what was asked and how old it is."""
    asked, told = dns.message.from_wire(query), dns.message.from_wire(reply)
    assert asked.is_response(told)
    assert told.question[0].name.to_wire() == asked.question[0].name.to_wire()
    assert bool(told.flags & dns.flags.RD) and bool(told.flags & dns.flags.RA)
    assert (told.edns >= 0) is (asked.edns >= 0)
    assert bool(told.ednsflags & dns.flags.DO) is dish.do
    other = DNSRecord.parse(reply)
    assert other.header.id == asked.id and other.header.rcode == told.rcode() & 15
    truncated = bool(told.flags & dns.flags.TC)
    assert other.header.tc == truncated
    if not truncated:
        assert len(other.rr) == dish.template.parts.answers
        assert len(other.auth) == dish.template.parts.authority
        whole = DNSRecord.parse(dish.template.render(plain(query), 0))
        for old, new in zip((*whole.rr, *whole.auth), (*other.rr, *other.auth), strict=True):
            assert old.ttl - new.ttl in {0} if dish.refusal else new.ttl <= old.ttl
            assert (new.rname, new.rtype, new.rdata) == (old.rname, old.rtype, old.rdata)


def plain(query: bytes) -> Peek:
    asked = peek(query)
    assert asked is not None
    return asked._replace(limit=65535)


def bend(rng: random.Random, query: bytes) -> bytes:
    """The same with some octets changed, moved, put in, taken out, or cut off."""
    wire = bytearray(query)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        if not wire:
            break
        at = rng.randrange(len(wire))
        match rng.randrange(7):
            case 0:
                wire[at] ^= 1 << rng.randrange(8)
            case 1:
                wire[at] = rng.choice([0, 1, 0x3F, 0x40, 0x41, 0x5A, 0x5B, 0xC0, 0xFF])
            case 2:
                wire.insert(at, rng.randrange(256))
            case 3:
                del wire[at]
            case 4:
                del wire[at:]
            case 5:
                wire += rng.randbytes(rng.randrange(1, 20))
            case 6:
                head = rng.randrange(min(12, len(wire)))
                wire[head] = rng.randrange(256)
    return bytes(wire[:512])


@WAYS
def test_row_97_bent_queries_get_the_daemons_answer_or_none(
    table: tuple[Kitchen, Dishes], way: Way
) -> None:
    kitchen, dishes = table
    rng = random.Random(SEED + 2)
    answered = 0
    for _ in range(BENT):
        dish = rng.choice(list(dishes.values()))
        opt = opt_record(rng.choice([0, 512, 1232, 65535]), do=dish.do)
        opt = opt if dish.do or rng.random() < 0.5 else b""
        flags = RD | (CD if dish.cd else 0)
        query = bend(rng, question(cased(rng, dish.name), dish.qtype, flags=flags, opt=opt))

        reply, expected = both(kitchen, dishes, way, query, v6=rng.random() < 0.5)

        if reply is not None:
            answered += 1
            assert reply.checked().dns == expected, query.hex()
    assert BENT // 50 < answered < BENT // 2, "some bend nothing that counts"


def test_what_the_daemon_has_ready_the_kernel_has_too(
    table: tuple[Kitchen, Dishes],
) -> None:
    """The other way round: a plain query that the daemon's front knows never falls through."""
    kitchen, dishes = table
    rng = random.Random(SEED + 3)
    for _ in range(BENT):
        dish = rng.choice(list(dishes.values()))
        flags = RD | (CD if dish.cd else 0)
        opt = opt_record(do=dish.do) if dish.do else b""
        query = bend(rng, question(cased(rng, dish.name), dish.qtype, flags=flags, opt=opt))
        reply, expected = both(kitchen, dishes, LO, query)
        assert (reply.dns if reply is not None else None) == expected
