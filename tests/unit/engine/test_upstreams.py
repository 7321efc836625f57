"""Which upstream is next, and how long one rests (RFC 9520)."""

from __future__ import annotations

from dnsfw.engine.upstreams import Upstreams
from dnsfw.model import SECOND, Nanos

NOW = Nanos(1000 * SECOND)


def at(seconds: float) -> Nanos:
    return Nanos(NOW + round(seconds * SECOND))


def test_the_first_in_the_list_is_asked_first() -> None:
    assert Upstreams(3).pick([], set(), NOW) == 0


def test_the_next_is_asked_when_the_first_was_tried() -> None:
    upstreams = Upstreams(2)

    assert upstreams.pick([0], set(), NOW) == 1
    assert upstreams.pick([0, 1], set(), NOW) == 0


def test_one_that_failed_rests_and_comes_back() -> None:
    upstreams = Upstreams(2)
    assert upstreams.failed(0, NOW, NOW)

    assert upstreams.pick([], set(), NOW) == 1
    assert upstreams.pick([], set(), at(0.99)) == 1
    assert upstreams.pick([], set(), at(1)) == 0


def test_each_failure_in_a_row_rests_twice_as_long_up_to_five_minutes() -> None:
    upstreams = Upstreams(1)
    now, rests = NOW, []
    for _ in range(12):
        upstreams.failed(0, now, now)
        rest = next(s for s in range(1, 400) if upstreams.healthy(Nanos(now + s * SECOND)))
        rests.append(rest)
        now = Nanos(now + rest * SECOND)

    assert rests[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert set(rests[9:]) == {300}


def test_one_outage_counts_once_however_many_questions_it_hits() -> None:
    upstreams = Upstreams(1)
    for _ in range(10):
        upstreams.failed(0, NOW, NOW)

    assert upstreams.healthy(at(1)) == 1


def test_an_answer_makes_it_healthy_at_once() -> None:
    upstreams = Upstreams(1)
    upstreams.failed(0, NOW, NOW)
    upstreams.worked(0, NOW)

    assert upstreams.healthy(NOW) == 1


def test_a_slow_name_is_not_held_against_an_upstream_that_answered_meanwhile() -> None:
    upstreams = Upstreams(1)
    upstreams.worked(0, at(0.5))

    assert not upstreams.failed(0, NOW, at(1))
    assert upstreams.healthy(at(1)) == 1


def test_when_all_rest_the_one_whose_rest_ends_first_is_asked() -> None:
    upstreams = Upstreams(2)
    upstreams.failed(0, NOW, NOW)
    upstreams.failed(0, at(1), at(1))
    upstreams.failed(1, at(1), at(1))

    assert upstreams.pick([], set(), at(1)) == 1


def test_nobody_is_left_when_all_are_broken_or_there_are_none() -> None:
    assert Upstreams(2).pick([], {0, 1}, NOW) is None
    assert Upstreams(0).pick([], set(), NOW) is None


def test_an_index_of_an_older_list_is_ignored() -> None:
    upstreams = Upstreams(1)
    upstreams.worked(5, NOW)

    assert not upstreams.failed(5, NOW, NOW)
