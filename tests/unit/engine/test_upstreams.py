"""Which upstream is next, and how long one rests (RFC 9520)."""

from __future__ import annotations

from dnsfw.engine.limits import TRY_PATIENCE
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
    assert upstreams.probe(1, at(0.99)) is None
    assert upstreams.pick([], set(), at(1)) == 1  # nobody waits for the proof
    assert upstreams.probe(1, at(1)) == 0
    assert upstreams.probe(1, at(1.5)) is None  # one is enough
    upstreams.worked(0, at(1), at(1.1))
    assert upstreams.pick([], set(), at(1.1)) == 0


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
    upstreams.worked(0, NOW, NOW)

    assert upstreams.healthy(NOW) == 1


def test_a_slow_name_is_not_held_against_an_upstream_that_answered_meanwhile() -> None:
    upstreams = Upstreams(1)
    upstreams.worked(0, at(0.4), at(0.5))

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
    upstreams.worked(5, NOW, NOW)

    assert not upstreams.failed(5, NOW, NOW)


def test_a_failed_probe_rests_twice_as_long() -> None:
    upstreams = Upstreams(2)
    upstreams.failed(0, NOW, NOW)
    assert upstreams.probe(1, at(1)) == 0
    assert upstreams.failed(0, at(1), at(1.8))

    assert upstreams.probe(1, at(3.7)) is None
    assert upstreams.probe(1, at(3.8)) == 0


def test_nothing_is_tried_out_while_nobody_is_known_to_work() -> None:
    upstreams = Upstreams(2)
    upstreams.failed(0, NOW, NOW)
    upstreams.failed(1, NOW, NOW)

    assert upstreams.probe(0, at(2)) is None


def test_latency_is_smoothed_as_tcp_does_it() -> None:
    """RFC 6298, section 2: SRTT + 4 RTTVAR."""
    upstreams = Upstreams(1)
    assert upstreams.hedge_after(0) == TRY_PATIENCE  # nothing is known

    upstreams.worked(0, NOW, at(0.040))
    assert upstreams.hedge_after(0) == 120_000_000  # 40 + 4 * 20
    for _ in range(60):
        upstreams.worked(0, NOW, at(0.040))
    assert 40_000_000 <= upstreams.hedge_after(0) < 42_000_000
    upstreams.worked(0, NOW, at(0.200))
    assert 200_000_000 < upstreams.hedge_after(0) < 230_000_000
    assert upstreams.states(NOW)[0].latency == 60_000_000


def test_a_hedge_is_never_sooner_than_a_busy_host_is_late() -> None:
    upstreams = Upstreams(1)
    for _ in range(50):
        upstreams.worked(0, NOW, Nanos(NOW + 1000))

    assert upstreams.hedge_after(0) == 20_000_000


def test_hedges_are_a_twentieth_of_the_questions() -> None:
    upstreams = Upstreams(2)
    while upstreams.may_hedge(0):
        pass
    hedged = 0
    for _ in range(1000):
        upstreams.earn()
        hedged += upstreams.may_hedge(0)

    assert hedged == 50


def test_one_that_never_can_what_another_can_rests() -> None:
    upstreams = Upstreams(2)
    for _ in range(4):
        upstreams.outdone(0, NOW)
    assert upstreams.pick([], set(), NOW) == 0
    upstreams.outdone(0, NOW)

    assert upstreams.pick([], set(), NOW) == 1
    assert upstreams.states(NOW)[0].rests == SECOND


def test_one_that_is_late_many_times_and_says_nothing_between_has_failed() -> None:
    upstreams = Upstreams(2)
    for _ in range(4):
        upstreams.late(0, NOW, at(0.1))
    upstreams.worked(0, NOW, at(0.2))
    for _ in range(4):
        upstreams.late(0, at(0.3), at(0.4))
    upstreams.late(0, at(0.1), at(0.4))  # it has answered since that was asked
    assert upstreams.pick([], set(), at(0.4)) == 0

    upstreams.late(0, at(0.3), at(0.4))
    assert upstreams.pick([], set(), at(0.4)) == 1
    while upstreams.may_hedge(1):
        pass
    assert upstreams.may_hedge(0)  # who waits for it is helped without a budget
