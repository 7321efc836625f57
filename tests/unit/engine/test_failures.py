"""Failures are remembered by back-off, for each role by itself, and bounded (RFC 9520)."""

from __future__ import annotations

from dnsfw.engine.failures import Failures
from dnsfw.engine.limits import FAILURE_MIN, QUESTION_FAILURE_MAX
from dnsfw.model import Nanos, RoleId
from dnsfw.wire.message import Ede

WEB, WORKER = RoleId(16), RoleId(17)
EDE = Ede.NO_REACHABLE_AUTHORITY


def key(number: int, role: RoleId = WEB) -> tuple[RoleId, bytes, bool, int]:
    return (role, b"n%d" % number, False, 0)


def test_a_failure_is_remembered_for_a_while_and_then_asked_again() -> None:
    failures = Failures(10)
    failures.remember(key(1), EDE, Nanos(0))

    assert failures.find(key(1), Nanos(FAILURE_MIN - 1)) is EDE
    assert failures.find(key(1), Nanos(FAILURE_MIN)) is None


def test_each_failure_in_a_row_is_remembered_twice_as_long_up_to_a_limit() -> None:
    failures, now, step = Failures(10), 0, FAILURE_MIN
    for _ in range(20):
        failures.remember(key(1), EDE, Nanos(now))
        assert failures.find(key(1), Nanos(now + step - 1)) is EDE
        assert failures.find(key(1), Nanos(now + step)) is None
        now, step = now + step, min(2 * step, QUESTION_FAILURE_MAX)

    assert step == QUESTION_FAILURE_MAX


def test_what_was_answered_begins_anew() -> None:
    failures = Failures(10)
    failures.remember(key(1), EDE, Nanos(0))
    failures.forget(key(1))

    assert failures.find(key(1), Nanos(1)) is None


def test_row_68_a_role_learns_nothing_from_anothers_failure() -> None:
    failures = Failures(10)
    failures.remember(key(1), EDE, Nanos(0))

    assert failures.find(key(1, WORKER), Nanos(1)) is None


def test_row_106_the_role_with_the_most_makes_room() -> None:
    failures = Failures(10)
    failures.remember(key(0, WORKER), EDE, Nanos(0))
    for number in range(100):
        failures.remember(key(number), EDE, Nanos(1))

    assert len(failures) == 10
    assert failures.find(key(0, WORKER), Nanos(2)) is EDE


def test_roles_that_are_no_more_are_forgotten() -> None:
    failures = Failures(10)
    failures.remember(key(0, WORKER), EDE, Nanos(0))
    failures.remember(key(0), EDE, Nanos(0))
    failures.keep({WEB})

    assert len(failures) == 1
