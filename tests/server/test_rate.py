"""Who may ask how much while others wait (row 103)."""

from __future__ import annotations

from dnsfw.model import HOST, Reason, RoleId
from dnsfw.server.rate import RateLimits, Rates

WEB, WORKER = RoleId(16), RoleId(17)
LIMITS = RateLimits(asker=100, role=200, burst=0.1, hold=0.25, askers=8)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[Rates, Clock]:
    clock = Clock()
    return Rates(clock, LIMITS), clock


def admitted(rates: Rates, role: RoleId, count: int, address: str = "127.0.0.1") -> int:
    return sum(rates.admits(role, address) for _ in range(count))


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


def test_row_103_one_askers_flood_leaves_the_others_their_tokens() -> None:
    rates, _ = made()
    rates.behind()

    assert admitted(rates, WEB, 10_000) == 10
    assert admitted(rates, WORKER, 10) == 10
    assert rates.dropped == {WEB: 9_990}


def test_tokens_come_back_with_time() -> None:
    rates, clock = made()
    rates.behind()
    admitted(rates, WEB, 100)

    clock.now += 1 / 16

    assert admitted(rates, WEB, 100) == 6


def test_row_103_many_addresses_of_one_role_share_the_roles_tokens() -> None:
    rates, _ = made()
    rates.behind()

    got = sum(admitted(rates, WEB, 10, f"192.0.2.{last}") for last in range(5))

    assert got == 20
    assert admitted(rates, HOST, 10) == 10


def test_forged_addresses_do_not_grow_memory() -> None:
    rates, _ = made()
    rates.behind()

    for last in range(1000):
        rates.admits(WEB, f"192.0.2.{last}")

    assert len(rates._askers) == LIMITS.askers


def test_what_can_wait_is_not_counted_as_dropped() -> None:
    rates, _ = made()
    rates.behind()
    admitted(rates, WEB, 10)

    assert not rates.takes(WEB, "127.0.0.1")
    assert not rates.dropped


def test_a_new_backlog_begins_with_full_buckets() -> None:
    rates, clock = made()
    rates.behind()
    admitted(rates, WEB, 100)

    clock.now += LIMITS.hold
    rates.behind()

    assert admitted(rates, WEB, 100) == 10


def test_what_was_dropped_is_told_once_for_each_role() -> None:
    rates, _ = made()
    rates.behind()
    admitted(rates, WEB, 110)
    admitted(rates, WORKER, 20)

    told = [(note.kind, note.reason, note.role, note.text.split()[0]) for note in rates.news()]

    assert told == [
        ("dropped", Reason.ASKER_RATE, WEB, "100"), ("dropped", Reason.ASKER_RATE, WORKER, "10")
    ]
    assert list(rates.news()) == []
