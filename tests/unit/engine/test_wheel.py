"""Everything comes in time, or a little later."""

from __future__ import annotations

from random import Random

from dnsfw.engine.wheel import Wheel
from dnsfw.model import SECOND, Nanos

TENTH = SECOND // 10


def test_everything_comes_within_a_tenth_of_a_second_and_early_at_most_once() -> None:
    rng = Random(1)
    wheel: Wheel[int] = Wheel()
    due = {n: Nanos(rng.randrange(20 * SECOND)) for n in range(2000)}
    for key, when in due.items():
        wheel.put(key, when)
    assert len(wheel) == 2000
    now, taken, early = Nanos(0), {}, set()
    while (following := wheel.next()) is not None:
        now = max(now, following)
        for slot, key in wheel.take(now, 100):
            assert slot == wheel.slot(due[key])
            assert key not in taken
            if now < due[key]:
                assert key not in early
                early.add(key)
                wheel.again(key, due[key])
            else:
                taken[key] = now
    assert taken.keys() == due.keys()
    assert all(due[key] <= now <= due[key] + TENTH for key, now in taken.items())
    assert len(wheel) == 0


def test_what_is_alone_comes_in_time() -> None:
    wheel: Wheel[str] = Wheel()
    assert wheel.next() is None

    wheel.put("b", Nanos(9 * SECOND))
    wheel.put("a", Nanos(5 * SECOND))

    assert wheel.next() == 5 * SECOND
    assert list(wheel.take(Nanos(5 * SECOND - 1), 9)) == []
    assert [key for _, key in wheel.take(Nanos(5 * SECOND), 9)] == ["a"]
    assert wheel.next() == 9 * SECOND


def test_no_more_than_asked_for_are_taken() -> None:
    wheel: Wheel[int] = Wheel()
    for key in range(10):
        wheel.put(key, Nanos(0))

    assert len(list(wheel.take(Nanos(SECOND), 3))) == 3
    assert len(list(wheel.take(Nanos(SECOND), 100))) == 7


def test_what_is_put_while_others_are_taken_stays() -> None:
    wheel: Wheel[str] = Wheel()
    wheel.put("a", Nanos(0))
    for _, key in wheel.take(Nanos(SECOND), 9):
        wheel.put(key, Nanos(2 * SECOND))

    assert len(wheel) == 1


def test_all_but_some_are_forgotten() -> None:
    wheel: Wheel[str] = Wheel()
    for key in "abc":
        wheel.put(key, Nanos(0))

    wheel.only([(Nanos(SECOND), "b")])

    assert [key for _, key in wheel.take(Nanos(2 * SECOND), 9)] == ["b"]
