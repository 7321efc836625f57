"""Deadlines on the loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime_ns

import pytest

import dnsfw
from dnsfw.model import SECOND, Nanos
from dnsfw.server.clock import Alarm, boot_now


class Loop:
    """Timers that a test fires."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, object]] = []
        self.cancelled = 0

    def time(self) -> float:
        return 0.0

    def call_at(self, when: float, ring: object) -> object:
        self.timers.append((when, ring))
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def fire(self) -> None:
        self.timers.pop()[1]()  # type: ignore[operator]


class Host:
    """A loop, a clock and an alarm."""

    def __init__(self) -> None:
        self.now = Nanos(0)
        self.rings: list[Nanos] = []
        self.loop = Loop()
        self.alarm = Alarm(
            self.loop,  # type: ignore[arg-type]
            lambda: self.now,
            lambda: self.rings.append(self.now),
        )


def test_it_rings_at_the_deadline() -> None:
    host = Host()
    host.alarm.set(Nanos(2 * SECOND))

    assert host.loop.timers[0][0] == 2.0
    host.now = Nanos(2 * SECOND)
    host.loop.fire()

    assert host.rings == [2 * SECOND]


def test_a_later_deadline_costs_no_timer_and_still_holds() -> None:
    host = Host()
    host.alarm.set(Nanos(SECOND))
    host.alarm.set(Nanos(3 * SECOND))
    assert len(host.loop.timers) == 1

    host.now = Nanos(SECOND)
    host.loop.fire()

    assert host.rings == []
    assert host.loop.timers[0][0] == 2.0


def test_an_earlier_deadline_moves_the_timer() -> None:
    host = Host()
    host.alarm.set(Nanos(3 * SECOND))
    host.alarm.set(Nanos(SECOND))

    assert host.loop.cancelled == 1
    assert host.loop.timers[-1][0] == 1.0


def test_never_means_never() -> None:
    host = Host()
    host.alarm.set(Nanos(SECOND))
    host.alarm.set(None)
    host.now = Nanos(SECOND)
    host.loop.fire()

    assert host.rings == []


def test_row_117_after_a_suspend_it_is_late_by_seconds_not_by_the_suspend() -> None:
    host = Host()
    host.alarm.set(Nanos(3600 * SECOND))

    assert host.loop.timers[0][0] <= 5.0  # the loop's clock stands still meanwhile


async def test_asked_often_it_looks_once_a_turn_and_closed_not_at_all() -> None:
    looked: list[int] = []
    alarm = Alarm(asyncio.get_running_loop(), boot_now, lambda: None)
    for number in range(5):
        alarm.ask(lambda number=number: looked.append(number))  # type: ignore[misc]
    assert not looked
    await asyncio.sleep(0)
    alarm.ask(lambda: looked.append(9))
    alarm.close()
    await asyncio.sleep(0)

    assert looked == [4]


async def test_on_a_real_loop() -> None:
    rung = asyncio.Event()
    alarm = Alarm(asyncio.get_running_loop(), boot_now, rung.set)

    alarm.set(Nanos(boot_now() + SECOND // 100))

    async with asyncio.timeout(5):
        await rung.wait()
    alarm.close()


def test_row_117_now_is_the_clock_of_the_kernels_deadlines() -> None:
    before = clock_gettime_ns(CLOCK_BOOTTIME)

    assert before <= boot_now() <= clock_gettime_ns(CLOCK_BOOTTIME)


@pytest.mark.needs_root
@pytest.mark.parametrize("ahead", ["100000", "-60"])
def test_row_117_a_time_namespace_does_not_move_deadlines(ahead: str) -> None:
    """BPF reads the clock of the host: ours, shifted, would hold doors open for a day."""
    say = "from dnsfw.server.clock import boot_now; print(boot_now())"
    inside = ["unshare", "--time", "--boottime", ahead, "--fork", "--", sys.executable, "-c", say]
    home = str(Path(dnsfw.__file__).parents[1])
    done = subprocess.run(
        inside, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": home}
    )
    if done.returncode and "unshare" in done.stderr:
        pytest.skip("no time namespaces here")

    apart = boot_now() - int(done.stdout)

    assert abs(apart) < 30 * SECOND


def test_by_then_at_the_latest() -> None:
    host = Host()
    host.alarm.set(Nanos(SECOND))
    host.alarm.set(None)  # what it was for has come

    host.alarm.by(Nanos(2 * SECOND), lambda: pytest.fail("it rings soon enough"))
    host.now = Nanos(SECOND)
    host.loop.fire()
    assert host.rings == []
    assert host.loop.timers[0][0] == 1.0  # once more, in a second
    host.now = Nanos(2 * SECOND)
    host.loop.fire()
    assert host.rings == [2 * SECOND]


def test_what_is_wanted_earlier_is_not_put_off() -> None:
    host = Host()
    host.alarm.set(Nanos(SECOND))
    host.alarm.by(Nanos(2 * SECOND), lambda: None)

    host.now = Nanos(SECOND)
    host.loop.fire()
    assert host.rings == [SECOND]
