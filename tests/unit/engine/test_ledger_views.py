"""What the ledger says of an address, while it is held and after."""

from __future__ import annotations

from dnsfw.engine.ledger import Ledger
from dnsfw.engine.limits import Limits
from dnsfw.engine.slots import Piece
from dnsfw.model import HOST, SECOND, Nanos, PortRange, PortSet, RuleId, Verdict, addr_from
from dnsfw.wire.name import from_text

ADDR = addr_from("192.0.2.7")
PIECE = Piece(RuleId(300), PortSet((PortRange(6, 443, 443),)), Verdict.ALLOW)
NOW = Nanos(1_000 * SECOND)


def held(*names: str) -> Ledger:
    ledger = Ledger(Limits())
    for at, name in enumerate(names):
        ledger.hold(HOST, from_text(name), [ADDR], [(PIECE, Nanos(NOW + at + 1))], NOW)
    return ledger


def test_who_holds_an_address_the_latest_first() -> None:
    ledger = held("a.example", "b.example")

    assert [name for name, _ in ledger.names(HOST, ADDR)] == [
        from_text("b.example"), from_text("a.example"),
    ]
    assert ledger.addresses(HOST, from_text("a.example")) == (ADDR,)


def test_what_the_kernel_was_told_and_the_rows_of_what_lives() -> None:
    ledger = held("a.example")

    (grant,) = ledger.written(HOST, ADDR)
    assert (grant.until, grant.rule) == (NOW + 1, 300)
    assert [row.names for row in ledger.rows(NOW)] == [(from_text("a.example"),)]
    assert not list(ledger.rows(Nanos(NOW + 1)))


def test_who_held_it_last_is_remembered() -> None:
    ledger = held("a.example")
    ledger.sweep(Nanos(NOW + SECOND))
    ledger.remember(HOST, from_text("c.example"), [ADDR], ())

    assert [name for name, _ in ledger.names(HOST, ADDR)] == [
        from_text("c.example"), from_text("a.example"),
    ]
