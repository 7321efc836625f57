"""Asking upstreams at the level of one question; whole scripts are in scenario/."""

from __future__ import annotations

from dnsfw.engine.cache import CacheKey
from dnsfw.engine.effects import Ask, Client, Effect, Forget, Note, Transport
from dnsfw.engine.limits import CLIENT_PATIENCE, Limits
from dnsfw.engine.lookups import Lookups
from dnsfw.model import HOST, SECOND, Nanos
from dnsfw.wire import message, reply
from dnsfw.wire.message import Ede
from dnsfw.wire.name import from_text
from tests.support.fakes import FixedRng
from tests.support.play import rr

NOW = Nanos(1000 * SECOND)
NAME = from_text("x.net")
QUERY = message.read_query(reply.write_query(1, NAME, 1))
KEY = CacheKey.of(HOST, QUERY)
CLIENT = Client(1, HOST, Transport.UDP)


def lookups(upstreams: int = 2) -> Lookups:
    return Lookups(upstreams, FixedRng(), Limits())


def ask_of(effects: list[Effect] | None) -> Ask:
    (ask,) = [e for e in effects or [] if isinstance(e, Ask)]
    return ask


def joined(some: Lookups) -> Ask:
    return ask_of(some.join(KEY, CLIENT, QUERY, NOW))


def says(
    ask: Ask, *, rcode: int = 0, ad: bool = False, ede: tuple[int, str] | None = None
) -> bytes:
    query = message.read_query(ask.wire)
    records = [rr("x.net", "A", "192.0.2.1")] if not rcode else []
    return reply.write_reply(query, rcode, records, ad=ad, ede=ede)


def test_an_answer_ends_the_question_for_all_who_wait() -> None:
    some = lookups()
    ask = joined(some)
    assert some.join(KEY, Client(2, HOST, Transport.UDP), QUERY, NOW) == []

    step = some.on_answer(ask.ask, says(ask), NOW)

    assert step.done is not None and len(step.done.waiters) == 2
    assert step.done.facts is not None and step.effects == [Forget(ask.ask)]
    assert len(some.table) == 0 and some.table.next_wake() is None


def test_junk_changes_nothing_but_its_counter() -> None:
    some = lookups()
    ask = joined(some)

    step = some.on_answer(ask.ask, b"junk", NOW)

    assert step.effects == [] and step.done is None and some.junk == 1


def test_every_upstream_is_asked_before_it_is_a_failure() -> None:
    some = lookups(3)
    ask = joined(some)
    asked = [ask.upstream]
    for _ in range(2):
        step = some.on_answer(ask.ask, says(ask, rcode=2), NOW)
        assert step.done is None
        ask = ask_of(step.effects)
        asked.append(ask.upstream)

    end = some.on_answer(ask.ask, says(ask, rcode=2, ede=(Ede.DNSSEC_BOGUS, "")), NOW)

    assert asked == [0, 1, 2]
    assert end.done is not None and end.done.facts is None
    assert end.done.pending.ede is Ede.DNSSEC_BOGUS


def test_an_unknown_extended_error_is_not_repeated() -> None:
    some = lookups(1)
    ask = joined(some)

    end = some.on_answer(ask.ask, says(ask, rcode=2, ede=(4711, "x")), NOW)

    assert end.done is not None and end.done.pending.ede is Ede.NO_REACHABLE_AUTHORITY


def test_a_broken_way_is_noted_once_an_outage() -> None:
    some = lookups(2)
    first = joined(some)
    step = some.on_failed(first.ask, "unreachable", NOW)

    notes = [e for e in step.effects if isinstance(e, Note)]

    assert notes[0].kind == "upstream-failed" and "unreachable" in notes[0].text
    assert ask_of(step.effects).upstream == 1


def test_one_broken_while_another_is_still_asked_waits_for_that() -> None:
    some = lookups(2)
    first = joined(some)
    (step,) = some.on_deadline(Nanos(NOW + SECOND))
    second = ask_of(step.effects)

    broken = some.on_answer(second.ask, says(second, rcode=5), NOW)

    assert broken.done is None and not some.table.by_ask(second.ask)
    assert some.on_answer(first.ask, says(first), NOW).done is not None


def test_time_out_ends_with_everyone_told() -> None:
    some = lookups(1)
    joined(some)

    steps = list(some.on_deadline(Nanos(NOW + CLIENT_PATIENCE)))

    (done,) = [step.done for step in steps if step.done]
    assert done.facts is None and len(done.waiters) == 1
    assert len(some.table) == 0


def test_ad_is_believed_of_trusted_upstreams_alone() -> None:
    for trusted in (frozenset[int](), frozenset({0})):
        some = lookups(1)
        some.trusted = trusted
        ask = joined(some)
        step = some.on_answer(ask.ask, says(ask, ad=True), NOW)
        assert step.done is not None and step.done.facts is not None
        assert step.done.facts.ad is bool(trusted)
        assert bool(message.read_query(ask.wire).ad) is bool(trusted)


def test_no_room_and_no_upstream_are_none() -> None:
    assert lookups(0).join(KEY, CLIENT, QUERY, NOW) is None
    full = Lookups(1, FixedRng(), Limits(pending=0))
    assert full.join(KEY, CLIENT, QUERY, NOW) is None
    assert full.close_name(KEY, NAME, 1, NOW) is None


def test_our_own_look_up_is_made_once() -> None:
    some = lookups(1)

    assert some.close_name(KEY, NAME, 1, NOW)
    assert some.close_name(KEY, NAME, 1, NOW) == []


def test_ids_come_from_the_rng_alone() -> None:
    some = Lookups(1, FixedRng(last=0x41), Limits())

    assert joined(some).wire[:2] == b"\0\x42"
