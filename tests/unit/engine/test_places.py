"""Groups, ghosts and the index: the parts of one place."""

from __future__ import annotations

from dnsfw.engine.places import Ghosts, Group, NameIndex, Outcome, Place, behind, report_sharing
from dnsfw.engine.slots import Piece, slots_for
from dnsfw.model import HOST, Nanos, PortRange, PortSet, RuleId, Verdict, addr_from
from dnsfw.wire.name import from_text

A1, A2 = addr_from("192.0.2.1"), addr_from("192.0.2.2")
X, Y, Z = from_text("x.net"), from_text("y.net"), from_text("z.net")
HTTPS = PortSet.of([PortRange(6, 443, 443)])
OPEN = Piece(RuleId(300), HTTPS, Verdict.ALLOW)
SHUT = Piece(RuleId(301), HTTPS, Verdict.DENY, yields=False)


def test_a_group_lasts_as_long_as_its_last_name() -> None:
    group = Group()
    group.add(X, Nanos(5), ())
    group.add(Y, Nanos(9), ())

    assert group.until == 9
    assert group.renew(X, Nanos(20), ()) and group.until == 20
    assert not group.renew(Z, Nanos(99), ()) and group.until == 20


def test_a_renewal_never_shortens_and_remembers_what_was_before() -> None:
    group = Group()
    group.add(X, Nanos(9), ())
    group.renew(X, Nanos(5), ())

    assert (group.names[X].until, group.names[X].before) == (9, 9)


def test_a_folded_name_keeps_its_deadline() -> None:
    group = Group()
    group.fold(Nanos(7))
    group.recount()

    assert group.until == 7


def test_names_come_in_order_of_use() -> None:
    group = Group()
    for name in (X, Y):
        group.add(name, Nanos(5), ())
    group.renew(X, Nanos(5), ())

    assert list(group.names) == [Y, X]


def test_a_place_counts_only_what_lives() -> None:
    place = Place()
    for piece, until in ((OPEN, Nanos(5)), (SHUT, Nanos(9))):
        place.groups[piece] = Group()
        place.groups[piece].add(X, until, ())

    assert place.pieces(Nanos(5)) == {SHUT: 9}
    assert list(place.holdings(Nanos(5))[X]) == [SHUT]
    assert place.has(X) and not place.has(Y)


def test_the_index_counts_pairs_once() -> None:
    index = NameIndex(100)
    index.link(HOST, X, A1)
    index.link(HOST, X, A1)
    index.link(HOST, X, A2)
    assert index.room.taken == 2 and set(index.addresses(HOST, X)) == {A1, A2}

    index.unlink(HOST, X, A1)
    index.unlink(HOST, X, A1)
    index.unlink(HOST, Y, A1)

    assert index.room.taken == 1
    index.unlink(HOST, X, A2)
    assert index.room.taken == 0 and index.addresses(HOST, X) == ()


def test_ghosts_are_few_and_the_latest_comes_first() -> None:
    ghosts = Ghosts(limit=2)
    for n in range(20):
        ghosts.add((HOST, A1), from_text(f"n{n}.net"), ())

    names = [name for name, _ in ghosts.names((HOST, A1))]

    assert names[0] == from_text("n19.net") and len(names) == 8


def test_a_ghost_that_a_flow_needs_is_forgotten_last() -> None:
    ghosts = Ghosts(limit=2)
    ghosts.in_use = frozenset({(HOST, A1)})
    ghosts.add((HOST, A1), X, ())
    for n in range(5):
        ghosts.add((HOST, addr_from(f"198.51.100.{n}")), Y, ())

    assert len(ghosts) == 2
    assert list(ghosts.names((HOST, A1))) == [(X, ())]
    ghosts.in_use = frozenset((HOST, addr_from(f"198.51.100.{n}")) for n in range(256))
    ghosts.add((HOST, A2), Z, ())
    assert len(ghosts) == 2


def test_the_names_behind_a_slot_are_those_of_its_verdict_and_ports() -> None:
    place = Place()
    for piece, name in ((OPEN, X), (SHUT, Y)):
        place.groups[piece] = Group()
        place.groups[piece].add(name, Nanos(9), ())
    (grant, _) = slots_for(place.pieces(Nanos(0)))

    assert behind(place, grant) == (X,)


def test_sharing_is_reported_and_a_closing_that_takes_ports_away_too() -> None:
    place = Place()
    place.groups[OPEN] = Group()
    place.groups[OPEN].add(X, Nanos(9), ())
    out = Outcome()

    report_sharing(place, Y, A1, [(SHUT, Nanos(9))], [OPEN], out)

    assert out.shared == [(A1, X)] and out.shut


def test_who_holds_a_place_alone_is_found_and_no_tail_is_overlooked() -> None:
    place = Place()
    group = place.groups.setdefault(OPEN, Group())
    group.add(X, Nanos(10), ())

    assert place.only(Nanos(5)) == (OPEN, X, group.names[X])
    group.fold(Nanos(8))
    assert place.only(Nanos(5)) is None  # somebody must look
    assert place.only(Nanos(8)) is not None
    group.add(Y, Nanos(10), ())
    assert place.only(Nanos(8)) is None
