"""Whole replies by whole queries: found only by the same octets, and never for longer."""

from __future__ import annotations

from collections.abc import Callable
from random import Random, SystemRandom

import pytest

from dnsfw.engine.effects import Ask, Client, Close, Reply, Transport
from dnsfw.engine.engine import Engine
from dnsfw.engine.replies import ID, LONGEST, Replies
from dnsfw.model import HOST, SECOND, Lockdown, Nanos, RoleId, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.wire.message import A
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query

WEB = RoleId(16)
QUERY = b"\x12\x34" + b"flags, counts, question"
REPLY = b"\x12\x34" + b"what was said"
UNTIL = Nanos(1_000)


def test_a_reply_is_found_by_everything_but_the_id() -> None:
    replies = Replies(8)

    replies.put(HOST, QUERY, REPLY, UNTIL)

    assert replies.of(HOST)[b"flags, counts, question"] == (UNTIL, b"what was said")
    assert replies.of(HOST).get(b"Flags, counts, question") is None


def test_row_68_what_one_role_repeats_is_not_anothers_to_find() -> None:
    replies = Replies(8)

    replies.put(HOST, QUERY, REPLY, UNTIL)

    assert not replies.of(WEB)


def test_a_query_that_fills_a_slot_of_the_batch_is_not_kept() -> None:
    """A longer one, with octets after its message, would look the same there."""
    replies = Replies(8)

    replies.put(HOST, bytes(ID + LONGEST - 1), REPLY, UNTIL)
    replies.put(HOST, bytes(ID + LONGEST), REPLY, UNTIL)

    assert len(replies) == 1


def test_row_106_who_has_the_most_gives_way_and_nobody_else() -> None:
    replies = Replies(4)
    replies.put(WEB, QUERY, REPLY, UNTIL)

    for i in range(10):
        replies.put(HOST, QUERY + bytes((i,)), REPLY, UNTIL)

    assert len(replies.of(WEB)) == 1
    assert len(replies) <= 4


def test_a_reply_in_the_place_of_an_older_one_needs_no_room() -> None:
    replies = Replies(2)

    for i in range(10):
        replies.put(HOST, QUERY, REPLY, Nanos(i))

    assert replies.of(HOST)[QUERY[ID:]].until == 9


def test_clearing_empties_what_somebody_holds_too() -> None:
    replies = Replies(8)
    replies.put(HOST, QUERY, REPLY, UNTIL)
    held = replies.of(HOST)

    replies.clear()

    assert not held
    assert len(replies) == 0


def test_without_a_limit_nothing_is_kept_to_begin_with() -> None:
    assert len(Replies(0)) == 0


# --- as the engine fills and empties them ---

ASKED_AT = Nanos(1_000 * SECOND)
POLICY = "version: 1\ndefault: deny\nrules: [{allow: '*.example.com:443'}]\n"
WWW = from_text("www.example.com")


def client(transport: Transport = Transport.UDP) -> Client:
    return Client("route", HOST, transport, "127.0.0.1")


def answered(text: str = POLICY, ttl: int = 30) -> Engine:
    """An engine that has the answer to one question."""
    engine = Engine(compile_text(text), 1, SystemRandom())
    (ask,) = engine.on_query(write_query(7, WWW, A), client(), ASKED_AT)
    assert isinstance(ask, Ask)
    reply = ask.wire[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + ask.wire[12:33]
    record = b"\xc0\x0c\0\1\0\1" + ttl.to_bytes(4, "big") + b"\0\4\xc0\0\2\7"
    engine.on_answer(ask.ask, reply + record, ASKED_AT)
    return engine


def again(engine: Engine, wire: bytes, now: Nanos, who: Client | None = None) -> bytes:
    first = engine.on_query(wire, who or client(), now)[0]
    assert isinstance(first, Reply)
    return first.wire


def after(nanos: int) -> Nanos:
    return Nanos(ASKED_AT + nanos)


def test_what_is_kept_is_what_the_engine_says_for_as_long_as_it_is_kept() -> None:
    rng, query = Random(7), write_query(9, WWW, A)
    for _ in range(200):
        engine = answered(ttl=rng.choice((1, 2, 5, 30)))
        now = after(rng.randrange(6 * SECOND))
        if not isinstance(engine.on_query(query, client(), now)[0], Reply):
            continue  # it has expired
        for said in list(engine.replies.of(HOST).values()):
            for later in (now, Nanos(said.until - 1), Nanos((now + said.until) // 2)):
                if now <= later < said.until:
                    assert again(engine, query, later)[ID:] == said.tail


def test_promise_2_a_ttl_is_never_told_longer_than_it_is_true() -> None:
    engine = answered(ttl=30)
    again(engine, write_query(9, WWW, A), after(SECOND // 2))

    (said,) = engine.replies.of(HOST).values()
    assert said.until == after(SECOND + 1), "rounded up to one second of age, and not beyond it"


def test_promise_2_a_long_ttl_is_told_a_little_shorter_and_so_stays_true_for_longer() -> None:
    engine = answered(ttl=3600)
    now = after(SECOND // 2)
    again(engine, write_query(9, WWW, A), now)

    (said,) = engine.replies.of(HOST).values()
    assert 50 * SECOND < said.until - now < 60 * SECOND
    ttl = int.from_bytes(said.tail[37:41], "big")
    assert 3600 * 63 // 64 - 1 <= ttl <= (after(3600 * SECOND) - said.until) // SECOND + 1


def test_only_plain_queries_over_udp_are_kept() -> None:
    engine, query = answered(), write_query(9, WWW, A)
    again(engine, query, after(1), client(Transport.TCP))
    again(engine, query[:-2] + b"\0\x0c" + b"\0\x0a\0\x08" + b"a cookie", after(1))

    assert len(engine.replies) == 0


def test_a_reply_that_is_told_with_a_note_is_made_each_time() -> None:
    audit = "version: 1\ndefault: deny\nmode: audit\nrules: [{allow: 'other.net:443'}]\n"
    engine = Engine(compile_text(audit), 1, SystemRandom())
    effects = engine.on_query(write_query(7, WWW, A), client(), ASKED_AT)
    ask = next(effect for effect in effects if isinstance(effect, Ask))
    reply = ask.wire[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + ask.wire[12:33]
    engine.on_answer(ask.ask, reply + b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\xc0\0\2\7", ASKED_AT)
    again(engine, write_query(9, WWW, A), after(1))

    assert len(engine.replies) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda engine: engine.swap_policy(compile_text(POLICY), after(2)),
        lambda engine: engine.set_lockdown(Lockdown.ON, after(2)),
        lambda engine: engine.set_own_addresses([addr_from("192.0.2.7")]),
        lambda engine: engine.on_close_failed(Close(())),
    ],
    ids=["reload", "lockdown", "own addresses", "a closing that failed"],
)
def test_whatever_may_change_a_judgement_empties_them(change: Callable[[Engine], object]) -> None:
    engine = answered()
    again(engine, write_query(9, WWW, A), after(1))
    held = engine.replies.of(HOST)
    assert held

    change(engine)

    assert not held


def test_hits_that_the_server_answers_are_counted_as_the_engines_own() -> None:
    engine = answered()
    engine.replies.hits[HOST] += 5

    assert engine.stats()["queries"] == 6
    assert engine.stats()["hits"] == 5
    assert engine.asked(HOST) == 6
