"""No role can fill a table before the others come; a role alone may."""

from __future__ import annotations

import pytest

from dnsfw.engine.fair import GREED, Room


def room(limit: int = 900, *, shared: bool = True) -> Room:
    made = Room(limit)
    made.shared = shared
    return made


def fill(table: Room, role: str) -> int:
    while table.left(role):
        table.take(role)
    return table.of(role)


def test_a_role_alone_may_have_all() -> None:
    table = room(shared=False)

    assert fill(table, "host") == 900
    assert not table.left("host")


def test_row_106_the_greediest_role_leaves_room_for_one_that_comes_late() -> None:
    table = room()

    assert fill(table, "greedy") == 900 * GREED // (GREED + 1)
    assert fill(table, "late") > 80


def test_greedy_roles_that_grow_together_get_equal_parts() -> None:
    table = room()
    while any([table.left(role) and (table.take(role) or True) for role in ("a", "b", "c")]):
        pass

    assert table.of("a") == table.of("b") == table.of("c") == pytest.approx(900 / 3, rel=0.05)


def test_what_is_given_back_can_be_taken_again() -> None:
    table = room(1)
    table.take("a")
    assert not table.left("b")
    table.give("a")

    assert table.left("b") and table.of("a") == 0


@pytest.mark.parametrize("limit", [1, 2, 8, 9, 10, 900])
def test_up_to_plenty_whoever_comes_finds_room(limit: int) -> None:
    for shared in (False, True):
        table = room(limit, shared=shared)
        while table.taken < table.plenty:  # one holds it all, which is the hardest for him
            assert table.left("greedy") and table.left("late")
            table.take("greedy")
