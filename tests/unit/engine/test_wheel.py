"""Nothing is taken before its time, and everything once."""

from __future__ import annotations

from random import Random

from dnsfw.engine.wheel import Wheel
from dnsfw.model import SECOND, Nanos

TENTH = SECOND // 10


def test_nothing_comes_before_its_time_and_all_within_a_tenth_of_a_second() -> None:
    rng = Random(1)
    wheel: Wheel[int] = Wheel()
    due = {n: Nanos(rng.randrange(20 * SECOND)) for n in range(2000)}
    for key, when in due.items():
        wheel.put(key, when)
    assert len(wheel) == 2000
    now, taken = Nanos(0), {}
    while (following := wheel.next()) is not None:
        now = Nanos(following + rng.randrange(3 * TENTH // 10))
        for slot, key in wheel.take(now, rng.randrange(1, 50)):
            assert slot == wheel.slot(due[key])
            assert key not in taken
            taken[key] = now
    assert taken.keys() == due.keys()
    assert all(now >= due[key] for key, now in taken.items())
    assert len(wheel) == 0


def test_when_to_come_is_soon_after_the_first() -> None:
    wheel: Wheel[str] = Wheel()
    assert wheel.next() is None

    wheel.put("b", Nanos(9 * SECOND))
    wheel.put("a", Nanos(5 * SECOND))

    following = wheel.next()
    assert following is not None
    assert 5 * SECOND <= following <= 5 * SECOND + TENTH
    assert list(wheel.take(Nanos(5 * SECOND - TENTH), 9)) == []
    assert [key for _, key in wheel.take(following, 9)] == ["a"]


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
