"""Who may ask how much while others wait (row 103)."""

from __future__ import annotations

from math import inf

import pytest

from dnsfw.model import HOST, Reason, RoleId
from dnsfw.server.rate import RateLimits, Rates, fair_part

WEB, WORKER = RoleId(16), RoleId(17)
LIMITS = RateLimits(window=0.1, least=10, hold=0.25, askers=8)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[Rates, Clock]:
    clock = Clock()
    return Rates(clock, LIMITS), clock


def admitted(rates: Rates, role: RoleId, count: int, address: str = "127.0.0.1") -> int:
    return sum(rates.admits(role, address) for _ in range(count))


def window(rates: Rates, clock: Clock, role: RoleId, count: int) -> None:
    """A window that begins behind, in which so many are answered."""
    rates.behind()
    admitted(rates, role, count)
    clock.now += LIMITS.window


def test_nobody_is_limited_until_a_listener_is_behind() -> None:
    rates, _ = made()

    assert not rates.limiting
    rates.behind()
    assert rates.limiting


def test_a_limit_ends_when_the_backlog_is_long_gone() -> None:
    rates, clock = made()
    rates.behind()

    clock.now += LIMITS.hold

    assert not rates.limiting


def test_row_103_who_floods_alone_gets_all_there_is_and_a_little_more_is_tried() -> None:
    rates, clock = made()
    window(rates, clock, WEB, 1000)

    assert admitted(rates, WEB, 10_000) == pytest.approx(1250, rel=0.02)
    clock.now += LIMITS.window
    assert admitted(rates, WEB, 10_000) > 1500  # for it was not behind


def test_row_103_one_askers_flood_leaves_the_others_their_part() -> None:
    rates, clock = made()
    window(rates, clock, WEB, 1000)
    rates.behind()
    first = admitted(rates, WORKER, 400), admitted(rates, WEB, 10_000)
    rates.behind()
    clock.now += LIMITS.window
    second = admitted(rates, WORKER, 400), admitted(rates, WEB, 10_000)

    assert first[0] == second[0] == 400
    assert second[1] == pytest.approx((1250 + 400 - 400) * 1.25, rel=0.05)
    assert set(rates.dropped) == {WEB}


def test_row_103_of_more_than_there_is_time_for_half_is_answered_and_the_rest_thrown_away() -> None:
    """Else who asks little would wait behind the whole queue of a flood of slow questions."""
    rates, clock = made()
    told: list[int] = []
    rates.allow = told.append
    window(rates, clock, WEB, 1000)
    cut = []
    for waiting in (5000, 4000, 3000, 100):
        rates.behind(waiting)
        cut.append(admitted(rates, WEB, 10_000))
        clock.now += LIMITS.window

    assert cut == pytest.approx([500, 500, 500, 1250], rel=0.03)
    assert told[1:4] == sorted(told[1:4], reverse=True)
    assert told[1] == pytest.approx(500 * 0.45 / LIMITS.window * 2**26 / 1e9, rel=0.03)
    assert told[4] > told[3]


def test_row_103_who_asks_less_than_his_part_is_not_the_one_to_ask_less() -> None:
    """Where more is thrown away than answered, it is what the flood sends."""
    rates, clock = made()
    rates.behind(5000)
    told = []
    for flood in (300, 5000, 5000, 5000):
        told.append((admitted(rates, WORKER, 100), admitted(rates, WEB, flood)))
        rates.behind(5000)  # in vain: the queue gets no shorter
        clock.now += LIMITS.window

    assert told == [(100, 300), (100, 98), (100, 49), (100, 24)]
    assert WORKER not in rates.dropped


def test_a_burst_that_was_read_to_its_end_was_not_too_much() -> None:
    rates, clock = made()
    told: list[int] = []
    rates.allow = told.append
    rates.behind()
    for _ in range(5):
        admitted(rates, WEB, 500)
        rates.behind()
        rates.caught_up()
        clock.now += LIMITS.window
    admitted(rates, WEB, 1)

    assert told[1:] == sorted(told[1:])
    assert told[-1] > 1.5 * told[1]


def test_a_daemon_that_was_held_up_does_not_hold_it_against_who_waited() -> None:
    rates, clock = made()
    window(rates, clock, WEB, 1000)
    admitted(rates, WEB, 10)
    rates.behind()

    clock.now += 2.1 * LIMITS.window  # a reload

    assert admitted(rates, WEB, 5000) == 5000


def test_two_who_flood_have_the_same() -> None:
    rates, clock = made()
    window(rates, clock, WEB, 1000)
    for _ in range(2):
        admitted(rates, WEB, 5000)
        admitted(rates, WORKER, 5000)
        rates.behind()
        clock.now += LIMITS.window

    assert admitted(rates, WEB, 5000) == admitted(rates, WORKER, 5000) > 500


def test_row_103_many_addresses_of_one_role_share_the_roles_part() -> None:
    rates, clock = made()
    for _ in range(3):
        rates.behind()
        got = [admitted(rates, WEB, 200, f"192.0.2.{last}") for last in range(5)]
        other = admitted(rates, HOST, 100)
        clock.now += LIMITS.window

    assert other == 100
    assert sum(got) > 900
    assert max(got) == 200  # of which none asked for more than a fifth


def test_an_asker_has_the_least_in_any_case() -> None:
    rates, clock = made()
    window(rates, clock, WEB, 12)
    admitted(rates, WEB, 5000)

    assert LIMITS.least <= admitted(rates, WORKER, 5000) <= 2 * LIMITS.least


def test_row_103_the_kernel_lets_through_less_than_can_be_answered() -> None:
    rates, clock = made()
    told: list[int] = []
    rates.allow = told.append
    window(rates, clock, WEB, 1000)

    admitted(rates, WEB, 1)

    assert told[-1:] == [pytest.approx(1000 * 0.9 * (2**26 / 1e9) / 0.1, rel=0.02)]


def test_forged_addresses_do_not_grow_memory() -> None:
    rates, _ = made()
    rates.behind()

    for last in range(1000):
        rates.admits(WEB, f"192.0.2.{last}")

    assert len(rates._asked) == LIMITS.askers + 1
    assert rates._asked[(WEB, "")] == 1000 - LIMITS.askers


def test_what_can_wait_is_not_counted_as_dropped() -> None:
    rates, clock = made()
    window(rates, clock, WEB, 1)
    admitted(rates, WEB, 100)
    clock.now += LIMITS.window
    rates.dropped.clear()

    assert not all(rates.takes(WEB, "127.0.0.1") for _ in range(1000))
    assert not rates.dropped


def test_a_new_backlog_begins_without_limits() -> None:
    rates, clock = made()
    window(rates, clock, WEB, 20)
    admitted(rates, WEB, 100)

    clock.now += LIMITS.hold
    rates.behind()

    assert admitted(rates, WEB, 1000) == 1000


def test_what_was_dropped_is_told_once_for_each_role() -> None:
    rates, clock = made()
    window(rates, clock, WEB, 12)
    admitted(rates, WEB, 100)
    admitted(rates, WORKER, 200)

    told = [(note.kind, note.reason, note.role, int(note.text.split()[0])) for note in rates.news()]

    assert told == [
        ("dropped", Reason.ASKER_RATE, WEB, rates.dropped[WEB]),
        ("dropped", Reason.ASKER_RATE, WORKER, rates.dropped[WORKER]),
    ]
    assert min(rates.dropped.values()) > 80
    assert list(rates.news()) == []


@pytest.mark.parametrize(
    ("whole", "wanted", "part"),
    [
        (100, [], inf),
        (100, [50, 50], inf),
        (100, [1000], 100),
        (100, [10, 1000], 90),
        (100, [10, 1000, 1000], 45),
        (100, [1000, 30, 40, 0], 35),
    ],
)
def test_a_whole_is_divided_max_min_fairly(whole: float, wanted: list[float], part: float) -> None:
    assert fair_part(whole, wanted) == part


def test_of_several_all_or_none_are_taken() -> None:
    rates, clock = made()
    window(rates, clock, WEB, 40)

    assert rates.takes(WEB, "127.0.0.1", 40)
    assert not rates.takes(WEB, "127.0.0.1", 40)
    assert rates.takes(WEB, "127.0.0.1", 5)
