"""Pieces to slots: merging, covering, yielding, and what is cut last."""

from __future__ import annotations

from dnsfw.engine.slots import Piece, barred, slots_for
from dnsfw.model import DEFAULT_RULE, Grant, Nanos, PortRange, PortSet, RuleId, Verdict
from dnsfw.policy.ports import KNOWN

ALLOW, DENY = Verdict.ALLOW, Verdict.DENY


def tcp(*spans: tuple[int, int] | int) -> PortSet:
    pairs = [(s, s) if isinstance(s, int) else s for s in spans]
    return PortSet.of(PortRange(6, low, high) for low, high in pairs)


def piece(rule: int, ports: PortSet, verdict: Verdict = ALLOW, yields: bool = True) -> Piece:
    return Piece(RuleId(rule), ports, verdict, yields)


def slots(*pieces: tuple[Piece, int]) -> tuple[Grant, ...]:
    return slots_for({one: Nanos(until) for one, until in pieces})


def test_nothing_is_nothing() -> None:
    assert slots() == ()


def test_equal_ports_merge_and_the_latest_deadline_wins() -> None:
    assert slots((piece(1, tcp(443)), 10), (piece(2, tcp(443)), 20)) == (
        Grant(Nanos(20), RuleId(2), tcp(443), ALLOW),
    )


def test_a_slot_that_another_covers_and_outlives_is_left_out() -> None:
    wide, narrow = piece(1, tcp((1, 1000))), piece(2, tcp(443))

    assert len(slots((wide, 20), (narrow, 10))) == 1
    assert len(slots((wide, 10), (narrow, 20))) == 2


def test_a_closing_piece_that_yields_leaves_opened_ports_alone() -> None:
    found = slots((piece(1, tcp(443)), 10), (piece(2, tcp((1, 1000)), DENY), 20))

    assert found[1].ports == tcp((1, 442), (444, 1000))


def test_a_closing_piece_that_yields_everything_needs_no_slot() -> None:
    assert len(slots((piece(1, tcp((1, 1000))), 10), (piece(2, tcp(443), DENY), 20))) == 1


def test_a_closing_piece_that_does_not_yield_stays_whole() -> None:
    found = slots((piece(1, tcp(443)), 10), (piece(2, tcp((1, 1000)), DENY, yields=False), 20))

    assert found[1].ports == tcp((1, 1000))


def test_opening_slots_come_first_so_that_a_cut_takes_closing_ones() -> None:
    opens = [(piece(n, tcp(n)), n) for n in range(1, 5)]

    found = slots((piece(9, tcp(80), DENY), 99), *opens)

    assert [g.verdict for g in found] == [ALLOW] * 4 + [DENY]
    assert [g.until for g in found[:4]] == [4, 3, 2, 1]


def test_a_slot_has_no_more_ranges_than_the_kernel_reads() -> None:
    opens = piece(1, tcp(*range(2, 60, 2)[:16]))
    more = piece(2, tcp(*range(100, 160, 2)[:16]))

    found = slots((opens, 1), (more, 1), (piece(3, tcp((1, 65535)), DENY), 1))

    assert len(found[2].ports.ranges) == 16


def test_equal_deadlines_and_rules_have_an_order_too() -> None:
    one, other = piece(1, tcp(80)), piece(1, tcp(443))

    assert slots((one, 5), (other, 5)) == slots((other, 5), (one, 5))


def test_an_opening_piece_is_barred_when_nothing_of_it_is_left() -> None:
    opening = piece(1, tcp(80, 443))

    assert not barred(opening, [piece(2, tcp(80), DENY, yields=False)])
    assert barred(opening, [piece(2, tcp(80), DENY, False), piece(3, tcp(443), DENY, False)])
    assert not barred(opening, [piece(2, tcp((1, 65535)), DENY)])


def test_what_only_the_default_opens_is_barred_without_tcp_udp_and_icmp() -> None:
    three = PortSet.of(PortRange(proto) for proto in (1, 6, 17))
    default = Piece(DEFAULT_RULE, KNOWN, ALLOW)

    assert barred(default, [piece(2, three, DENY, yields=False)])
    assert not barred(piece(7, KNOWN), [piece(2, three, DENY, yields=False)])
