"""Judging what is held anew; more of it in `test_ledger` and `tests/prop/test_ledger.py`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dnsfw.engine.effects import Holder
from dnsfw.engine.ledger import Ledger
from dnsfw.engine.limits import Limits
from dnsfw.engine.slots import Piece
from dnsfw.model import (
    HOST,
    SECOND,
    Addr,
    Entry,
    Grant,
    Name,
    Nanos,
    PortRange,
    PortSet,
    RuleId,
    Verdict,
    addr_from,
)
from dnsfw.wire.name import from_text

NOW = Nanos(1_000 * SECOND)
END = Nanos(2_000 * SECOND)
ADDR = addr_from("203.0.113.7")
OTHER_ADDR = addr_from("203.0.113.8")
NAME = from_text("www.example.com")
ELSE, GONE = from_text("else.example.com"), from_text("gone.example.com")
PIECE = Piece(RuleId(1000), PortSet((PortRange(6, 443, 443),)), Verdict.ALLOW)
OTHER = Piece(RuleId(1001), PortSet((PortRange(6, 443, 443),)), Verdict.ALLOW)


def ledger() -> Ledger:
    made = Ledger(Limits())
    entries: list[Entry] = []
    assert made.hold_alone(HOST, NAME, [ADDR], PIECE, END, entries)
    assert [entry.addr for entry in entries] == [ADDR]
    return made


def test_who_is_judged_as_before_stays_as_he_is() -> None:
    one = ledger()

    assert one.rejudge(lambda *_: (PIECE,), lambda *_: False, NOW) == []
    assert (HOST, ADDR) in one._lone


def test_who_is_judged_otherwise_is_written_anew_or_closed() -> None:
    one, other = ledger(), ledger()

    (entry,) = one.rejudge(lambda *_: (OTHER,), lambda *_: False, NOW)
    assert [(grant.rule, grant.until) for grant in entry.grants] == [(1001, END)]
    assert other.rejudge(lambda *_: (), lambda *_: False, NOW) == [Entry(HOST, ADDR)]
    assert len(other) == 0


def test_a_table_is_taken_over_as_it_is() -> None:
    (row,) = ledger().rows(NOW)
    one = Ledger(Limits())

    changed = one.adopt(
        [Entry(HOST, ADDR, (row.grant,))], [], lambda *_: (PIECE,), lambda *_: True, NOW
    )

    assert changed == []
    assert len(one) == 1


def test_some_at_a_time_the_rest_stays_as_it_is() -> None:
    one = ledger()
    entries: list[Entry] = []
    assert one.hold_alone(HOST, from_text("b.com"), [OTHER_ADDR], PIECE, END, entries)

    one.begin_judging(lambda *_: (), lambda *_: False)
    assert one.unjudged and one.judge_some(1, NOW) == [Entry(HOST, OTHER_ADDR)]
    assert one.unjudged and one.written(HOST, ADDR)
    assert one.judge_some(9, NOW) == [Entry(HOST, ADDR)]
    assert not one.unjudged and len(one) == 0


def test_what_an_answer_uses_is_judged_before_it_and_written_though_it_is_left_out() -> None:
    one = ledger()
    one.begin_judging(lambda *_: (), lambda *_: False)
    entries: list[Entry] = []

    assert not one.hold_alone(HOST, NAME, [ADDR], PIECE, END, entries), "the long way"
    assert entries == [] and one.written(HOST, ADDR)
    one.judge_these([(HOST, ADDR)], NOW)
    assert one.written(HOST, ADDR) == () and one.unjudged
    assert one.judge_some(9, NOW) == [Entry(HOST, ADDR)] and not one.unjudged


def test_what_the_new_policy_opens_meanwhile_is_not_closed_by_the_rest() -> None:
    one = ledger()
    one.begin_judging(lambda *_: (), lambda *_: False)
    out = one.hold(HOST, NAME, [ADDR], [(OTHER, END)], NOW)

    assert [grant.rule for grant in out.entries[-1].grants] == [1001]
    for entry in one.judge_some(9, NOW):
        assert [grant.rule for grant in entry.grants] == [1001]
    assert [grant.rule for grant in one.written(HOST, ADDR)] == [1001]


@pytest.mark.parametrize(
    ("pieces", "said"),
    [((PIECE,), None), ((), []), ((OTHER,), [1001]), ((PIECE, OTHER), [1000])],
)
def test_a_place_with_room_for_more_is_judged_alike(
    pieces: tuple[Piece, ...], said: list[int] | None
) -> None:
    one = ledger()
    one.hold(HOST, NAME, [ADDR], [(PIECE, END)], NOW)
    assert (HOST, ADDR) in one._places

    entries = one.rejudge(lambda *_: pieces, lambda *_: False, NOW)

    told = [[grant.rule for grant in entry.grants] for entry in entries]
    assert told == ([] if said in (None, [1000]) else [said])
    assert (one.room.taken, one.names_held) == ((0, 0) if said == [] else (1, 1))
    assert one.rule_room.of(HOST, PIECE.rule) == (PIECE in pieces)
    assert one.rule_room.of(HOST, OTHER.rule) == (OTHER in pieces)


def adopted(entries: list[Entry], holders: list[Holder], alone: bool) -> tuple[Ledger, list[Entry]]:
    """A ledger after a restart, the short way where there is one or the long way for all."""
    made = Ledger(Limits())
    if not alone:
        made._adopt_alone = lambda *_: False  # type: ignore[method-assign]
    changed = made.adopt(
        entries, holders, lambda role, addr, name, chain: (PIECE,) if name != GONE else (),
        lambda role, piece: piece == OTHER, NOW,
    )  # fmt: skip
    return made, changed


def test_what_one_name_holds_is_taken_over_as_everything_else_is() -> None:
    """Each way in which an address may be more than that, and the plain one, both ways."""
    before, after = Nanos(END - SECOND), Nanos(END + SECOND)

    def grant(until: Nanos = END, piece: Piece = PIECE) -> Grant:
        return Grant(until, piece.rule, piece.ports, piece.verdict)

    def holder(
        addr: Addr, name: Name = NAME, rule: int = 1000, until: Nanos = END, *chain: Name
    ) -> Holder:
        return Holder(HOST, addr, name, RuleId(rule), until, chain)

    cases: list[tuple[tuple[Grant, ...], Callable[[Addr], list[Holder]]]] = [
        ((grant(),), lambda a: [holder(a)]),
        ((grant(),), lambda a: [holder(a, until=after)]),
        ((grant(),), lambda a: [holder(a, until=before)]),
        ((grant(),), lambda a: [holder(a, until=Nanos(NOW - 1))]),
        ((grant(NOW),), lambda a: [holder(a)]),
        ((grant(),), lambda a: []),
        ((grant(),), lambda a: [holder(a, GONE)]),
        ((grant(),), lambda a: [holder(a, NAME, 1000, END, GONE)]),
        ((grant(),), lambda a: [holder(a), holder(a, ELSE)]),
        ((grant(), grant(END, OTHER)), lambda a: [holder(a)]),
        ((grant(END, OTHER),), lambda a: [holder(a)]),
        ((grant(END, OTHER),), lambda a: [holder(a, GONE, 1001)]),
        ((), lambda a: [holder(a)]),
    ]
    entries, holders = [], []
    for number, (grants, held) in enumerate(cases):
        addr = addr_from(f"203.0.113.{number}")
        entries.append(Entry(HOST, addr, grants))
        holders += held(addr)

    short, changed = adopted(entries, holders, alone=True)
    long, expected = adopted(entries, holders, alone=False)

    assert len(short._lone) == 2, "the plain ones"
    assert sorted(changed) == sorted(expected) != []
    for now in (NOW, before, END, after):
        assert set(short.rows(now)) == set(long.rows(now))
        assert sorted(short.sweep(now)) == sorted(long.sweep(now))
    assert len(short) == len(long)
    assert short.room.taken == long.room.taken
