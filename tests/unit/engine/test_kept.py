"""Things end at their time, and the least used make room."""

from __future__ import annotations

from dnsfw.engine.kept import Kept
from dnsfw.model import SECOND, Nanos

NOW = Nanos(1_000)


def end(after: int) -> Nanos:
    return Nanos(NOW + after * SECOND)


def kept(size: int, *names: str, cost: int = 1) -> Kept[str, str]:
    table: Kept[str, str] = Kept(size)
    for name in names:
        table.put(name, name.upper(), end(100), cost, NOW)
    return table


def test_what_is_held_is_found_until_its_end() -> None:
    table = kept(8, "a")

    assert table.get("a", end(99)) == "A"
    assert table.get("a", end(100)) is None
    assert (len(table), table.cost) == (0, 0)


def test_the_least_used_makes_room() -> None:
    table = kept(3, "a", "b", "c")
    table.get("a", NOW)

    table.put("d", "D", end(100), 1, NOW)

    assert [table.get(name, NOW) for name in "abcd"] == ["A", None, "C", "D"]


def test_what_has_ended_makes_room_before_what_lives() -> None:
    table = kept(3, "a", "b")
    table.put("short", "S", end(5), 1, NOW)

    table.put("d", "D", end(100), 1, end(6))

    assert [table.get(name, end(5)) for name in ("a", "b", "short", "d")] == ["A", "B", None, "D"]


def test_a_new_value_takes_the_place_and_the_cost_of_the_old_one() -> None:
    table = kept(10, "a", cost=7)

    table.put("a", "B", end(5), 9, NOW)

    assert (len(table), table.cost, table.get("a", NOW)) == (1, 9, "B")


def test_what_fits_nowhere_or_has_ended_is_not_held() -> None:
    table = kept(10, "a")

    table.put("big", "B", end(5), 11, NOW)
    table.put("late", "L", NOW, 1, NOW)

    assert (len(table), table.cost) == (1, 1)


def test_an_old_end_takes_no_newer_value_along() -> None:
    table = kept(8)
    table.put("a", "old", end(5), 1, NOW)
    table.put("a", "new", end(50), 1, NOW)

    table.expire(end(5))

    assert table.get("a", end(5)) == "new"


def test_row_105_a_key_that_is_written_for_ever_leaves_no_trail() -> None:
    table = kept(8)
    for number in range(10_000):
        table.put("a", "A", end(number + 1), 1, NOW)

    assert len(table._ends) < 100


def test_the_least_used_can_be_dropped() -> None:
    table = kept(8, "a", "b")

    table.drop()

    assert (table.get("a", NOW), table.get("b", NOW)) == (None, "B")
