"""Copies of replies in a process that only answers."""

from __future__ import annotations

from dnsfw.engine.cache import CacheKey, Ready
from dnsfw.engine.replica import Replica
from dnsfw.engine.replies import ID
from dnsfw.model import HOST, SECOND, Nanos, RoleId
from dnsfw.wire.message import A, Rcode, peek
from dnsfw.wire.name import from_text
from dnsfw.wire.record import Record
from dnsfw.wire.reply import Template, write_query

WWW = from_text("www.example.com")
NOW = Nanos(1_000 * SECOND)
WEB = RoleId(16)


def query(id: int = 7, size: int = 1232) -> bytes:
    return write_query(id, WWW, A, size=size)


def key(role: RoleId = HOST, do: bool = False) -> CacheKey:
    asked = peek(query())
    assert asked is not None
    return CacheKey(role, asked.key, do, asked.flags)


def ready(ttl: int = 300) -> Ready:
    template = Template(WWW, Rcode.NOERROR, [Record(WWW, A, 1, ttl, b"\xc0\0\2\7")])
    return Ready(template, NOW, Nanos(NOW + ttl * SECOND))


def after(seconds: float) -> Nanos:
    return Nanos(NOW + int(seconds * SECOND))


def ttl_of(reply: bytes, opt: int = 11) -> int:
    at = len(reply) - opt - 4 - 2 - 4
    return int.from_bytes(reply[at : at + 4], "big")


def test_a_copy_answers_with_the_id_and_the_age_of_now() -> None:
    one = Replica()
    one.put(key(), ready())

    reply = one.reply(query(id=9), HOST, after(10.5))

    assert reply is not None
    assert reply[:ID] == b"\0\x09"
    assert ttl_of(reply) == 300 - 11


def test_it_is_found_by_its_octets_from_then_on() -> None:
    one = Replica()
    one.put(key(), ready())
    one.reply(query(), HOST, after(1))

    assert query()[ID:] in one.replies.of(HOST)
    assert one.replies.hits[HOST] == 1


def test_row_68_what_one_role_has_no_other_is_told() -> None:
    one = Replica()
    one.put(key(), ready())

    assert one.reply(query(), WEB, NOW) is None


def test_a_copy_is_never_told_past_its_end() -> None:
    one = Replica()
    one.put(key(), ready(ttl=5))

    assert one.reply(query(), HOST, after(4.9)) is not None
    assert one.reply(query(), HOST, after(5)) is None


def test_a_query_that_is_not_plain_is_not_answered_here() -> None:
    one = Replica()
    one.put(key(), ready())
    cookie = query()[:-2] + b"\0\x0c" + b"\0\x0a\0\x08" + bytes(8)

    assert one.reply(cookie, HOST, NOW) is None
    assert one.reply(b"junk", HOST, NOW) is None


def test_nothing_is_left_after_it_was_cleared() -> None:
    one = Replica()
    one.put(key(), ready())
    one.reply(query(), HOST, NOW)
    one.clear()

    assert len(one) == 0 and not one.replies.of(HOST)
    assert one.reply(query(), HOST, NOW) is None


def test_row_106_it_holds_no_more_than_its_limit() -> None:
    one = Replica(limit=4)
    for role in range(16, 26):
        one.put(key(RoleId(role)), ready())

    assert len(one) == 4


def test_what_is_used_in_its_last_part_is_asked_for_once() -> None:
    one = Replica()
    one.put(key(), ready(ttl=100))
    one.reply(query(), HOST, after(89))
    early = one.fading()
    for _ in range(3):
        one.reply(query(), HOST, after(91))

    assert early == []
    assert one.fading() == [(key(), after(100))]
    assert one.fading() == []


def test_the_last_part_is_a_second_at_least() -> None:
    one = Replica()
    one.put(key(), ready(ttl=5))
    one.reply(query(), HOST, after(4))

    assert one.fading() == [(key(), after(5))]
