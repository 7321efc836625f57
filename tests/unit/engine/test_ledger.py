"""The ledger's edges; what it says as a whole is held to a model in prop/test_ledger.py."""

from __future__ import annotations

from dnsfw.engine.ledger import Ledger
from dnsfw.engine.limits import Limits
from dnsfw.engine.places import Left, Outcome
from dnsfw.engine.slots import Piece
from dnsfw.model import (
    HOST,
    SECOND,
    Addr,
    Entry,
    Name,
    Nanos,
    PortRange,
    PortSet,
    RoleId,
    RuleId,
    Verdict,
    addr_from,
)
from dnsfw.wire.name import from_text

A1, A2, A3 = (addr_from(f"192.0.2.{n}") for n in (1, 2, 3))
X, Y = from_text("x.net"), from_text("y.net")
HTTPS = PortSet.of([PortRange(6, 443, 443)])
OPEN = Piece(RuleId(300), HTTPS, Verdict.ALLOW)
STRICT = Piece(RuleId(301), HTTPS, Verdict.DENY, yields=False)


def held(ledger: Ledger, name: Name = X, addr: Addr = A1, until: int = 10) -> Outcome:
    return ledger.hold(HOST, name, [addr], [(OPEN, Nanos(until))], Nanos(1))


def test_an_address_named_twice_is_held_once() -> None:
    out = Ledger(Limits()).hold(HOST, X, [A1, A1], [(OPEN, Nanos(9))], Nanos(1))

    assert out.held == [A1] and len(out.entries) == len(out.holders) == 1


def test_what_the_kernel_has_already_is_not_written_again() -> None:
    ledger = Ledger(Limits())
    held(ledger)

    out = held(ledger, name=Y, until=9)

    assert out.entries == [] and len(out.holders) == 1


def test_another_role_has_places_of_its_own() -> None:
    """Promise 5."""
    ledger = Ledger(Limits())
    held(ledger)

    assert ledger.written(RoleId(16), A1) == ()
    assert list(ledger.names(RoleId(16), A1)) == []


def test_reasons_for_leaving_an_address_out() -> None:
    full = Ledger(Limits(grants=1))
    held(full)
    assert held(full, addr=A2).left == {A2: Left.FULL}

    flighty = Ledger(Limits(addresses_per_name=1))
    held(flighty)
    assert held(flighty, addr=A2).left == {A2: Left.NAME}

    strict = Ledger(Limits())
    strict.hold(HOST, Y, [A1], [(STRICT, Nanos(10))], Nanos(1))
    assert held(strict).left == {A1: Left.CLOSED}


def test_an_address_that_was_left_out_is_unchanged() -> None:
    ledger = Ledger(Limits())
    ledger.hold(HOST, Y, [A1], [(STRICT, Nanos(10))], Nanos(1))
    before = ledger.written(HOST, A1)

    held(ledger, until=99)

    assert ledger.written(HOST, A1) == before and ledger.names_held == 1


def test_the_sweep_looks_at_a_bounded_number_and_asks_to_be_called_again() -> None:
    ledger = Ledger(Limits(addresses_per_name=5000))
    addrs = [addr_from(f"10.0.{n // 250}.{n % 250}") for n in range(3000)]
    ledger.hold(HOST, X, addrs, [(OPEN, Nanos(5))], Nanos(1))
    total = len(ledger)

    due = ledger.next_sweep()
    assert due is not None and Nanos(5) <= due <= Nanos(SECOND // 10)
    first = ledger.sweep(due)

    assert 0 < len(first) < total
    assert ledger.next_sweep() == due
    while ledger.next_sweep() is not None:
        ledger.sweep(due)
    assert len(ledger) == 0


def test_a_renewed_place_is_looked_at_again_later_and_not_deleted() -> None:
    ledger = Ledger(Limits())
    held(ledger, until=10)
    held(ledger, until=50)

    assert ledger.sweep(Nanos(10)) == []
    assert ledger.next_sweep() == 50
    assert ledger.sweep(Nanos(50)) == [Entry(HOST, A1)]


def test_names_survive_their_grant_as_last_names_but_closings_do_not() -> None:
    ledger = Ledger(Limits())
    held(ledger, until=10)
    ledger.hold(HOST, Y, [A2], [(STRICT, Nanos(10))], Nanos(1))
    ledger.sweep(Nanos(10))

    assert [name for name, _ in ledger.names(HOST, A1)] == [X]
    assert [name for name, _ in ledger.names(HOST, A2)] == []


def test_names_come_with_the_latest_deadline_first() -> None:
    ledger = Ledger(Limits())
    held(ledger, name=X, until=10)
    held(ledger, name=Y, until=20)

    assert [name for name, _ in ledger.names(HOST, A1)] == [Y, X]
    held(ledger, name=X, until=30)
    assert [name for name, _ in ledger.names(HOST, A1)] == [X, Y]


def test_rows_show_what_lives() -> None:
    ledger = Ledger(Limits())
    held(ledger, until=10)
    held(ledger, addr=A2, until=3)

    (row,) = ledger.rows(Nanos(5))

    assert (row.addr, row.names, row.grant.until) == (A1, (X,), 10)


def test_a_closing_that_was_lost_is_deleted_and_written_when_it_is_wanted_again() -> None:
    ledger = Ledger(Limits())
    out = held(ledger)

    assert ledger.lost(out.entries) == [Entry(HOST, A1)]
    assert ledger.lost([Entry(HOST, A1)]) == []
    assert held(ledger).entries != []


def test_the_heap_of_deadlines_does_not_outgrow_the_places() -> None:
    ledger = Ledger(Limits(addresses_per_name=10_000))
    for n in range(500):
        piece = Piece(RuleId(300 + n % 2), HTTPS, Verdict.ALLOW)
        ledger.hold(HOST, X, [A1], [(piece, Nanos(10_000 - n))], Nanos(1))

    assert len(ledger._due) <= 2 * len(ledger) + 65


def test_a_rule_that_takes_over_gets_the_earliest_deadline_of_the_name() -> None:
    ledger = Ledger(Limits())
    ssh = Piece(RuleId(302), PortSet.of([PortRange(6, 22, 22)]), Verdict.ALLOW)
    web = Piece(RuleId(303), PortSet.of([PortRange(6, 80, 80)]), Verdict.ALLOW)
    ledger.hold(HOST, X, [A1], [(OPEN, Nanos(10)), (ssh, Nanos(20))], Nanos(1))

    ledger.rejudge(lambda *_: [web, ssh], lambda *_: False, Nanos(2))

    assert {g.rule: g.until for g in ledger.written(HOST, A1)} == {302: 20, 303: 10}
