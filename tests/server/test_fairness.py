"""Row 103 in a model of time: a flood, a queue that overflows, and a reader whose part of the
processor changes. Everything but `Rates` is made up here, and the clock is handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dnsfw.model import RoleId
from dnsfw.server.rate import Rates
from dnsfw.server.udp import BATCH, BEHIND

FLOOD, CALM = RoleId(16), RoleId(17)
ROOM = 10_000  # datagrams that a listener's queue holds
LONG_QUEUE = 2048
KERNEL_WINDOW = 2**26 / 1e9
LEAST_SHARE = 128  # of kernel/asker.bpf.h


@dataclass
class Machine:
    """One listener as `server/udp.py` reads it, behind the kernel's filter, and two askers."""

    answer: float  # seconds of the processor that an answer takes
    throw_away: float  # and a query that is not looked into
    flood: float  # queries a second
    processor: Callable[[float], float]  # the part of it that the daemon has, by the time
    processors: int = 2  # that flood: the kernel counts on each
    now: float = 0.0
    queue: deque[tuple[RoleId, float]] = field(default_factory=deque)
    allowance: int = 0
    passed: float = 0.0  # of the flood, in this window of the kernel's
    lost: list[float] = field(
        default_factory=list
    )  # when a calm question was sent that nobody answered
    waited: list[tuple[float, float]] = field(default_factory=list)  # when, how long
    answered: int = 0  # of the flood
    _asked_until: float = 0.0
    _owed: float = 0.0

    def __post_init__(self) -> None:
        self.rates = Rates(lambda: self.now)
        self.rates.allow = lambda datagrams: setattr(self, "allowance", datagrams)

    def run(self, seconds: float) -> None:
        end, full = self.now + seconds, 0
        while self.now < end:
            self._arrive()
            limiting = self.rates.limiting
            if self.queue:
                self._wake(limiting)
            else:
                self._spend(0.001)
            full = full + 1 if self.queue else 0
            if not self.queue and limiting:
                self.rates.caught_up()
            elif self.queue and (limiting or full >= BEHIND or len(self.queue) > LONG_QUEUE):
                self.rates.behind(len(self.queue))

    def _wake(self, limiting: bool) -> None:
        heard = 0
        for _ in range(9 if limiting else 1):
            for _ in range(min(BATCH, len(self.queue))):
                role, since = self.queue.popleft()
                if limiting and not self.rates.admits(role, "127.0.0.1"):
                    self._spend(self.throw_away)
                    if role == CALM:
                        self.lost.append(since)
                    continue
                self._spend(self.answer)
                heard += 1
                if role == CALM:
                    self.waited.append((self.now, self.now - since))
                else:
                    self.answered += 1
            if heard >= BATCH:
                return

    def _spend(self, seconds: float) -> None:
        self.now += seconds / self.processor(self.now)

    def _arrive(self) -> None:
        """What was sent since the last wake-up, a millisecond at a time."""
        while self._asked_until < self.now:
            at, self._asked_until = self._asked_until, self._asked_until + 0.001
            if round(at * 1000) % 20 == 0:
                self._put(CALM, at, self.lost)
            self._owed += min(self.flood, self._most()) / 1000
            while self._owed >= 1:
                self._owed -= 1
                self._put(FLOOD, at, None)

    def _most(self) -> float:
        if not self.allowance:
            return float("inf")
        return max(self.allowance, LEAST_SHARE) * self.processors / KERNEL_WINDOW

    def _put(self, role: RoleId, at: float, lost: list[float] | None) -> None:
        if len(self.queue) < ROOM:
            self.queue.append((role, at))
        elif lost is not None:
            lost.append(at)

    def after(self, begin: float) -> tuple[int, float]:
        """How many calm questions were lost since then, and how long the slowest waited."""
        lost = sum(at >= begin for at in self.lost)
        return lost, max((wait for at, wait in self.waited if at >= begin), default=0.0)


def whole(now: float) -> float:
    return 1.0


def then_an_eighth(now: float) -> float:
    return 1.0 if now < 2 else 0.125


def in_turns(now: float) -> float:
    return 1.0 if int(now * 3) % 20 == 0 else 0.15


@pytest.mark.parametrize("processor", [whole, then_an_eighth, in_turns])
@pytest.mark.parametrize(("answer", "throw_away"), [(20e-6, 3e-6), (200e-6, 4e-6)])
@pytest.mark.parametrize("processors", [1, 2, 8])
def test_row_103_a_calm_asker_loses_nothing_and_waits_little_however_slow_the_machine(
    processor: Callable[[float], float], answer: float, throw_away: float, processors: int
) -> None:
    machine = Machine(answer, throw_away, 250_000, processor, processors)

    machine.run(8)

    lost, slowest = machine.after(3.0)
    assert lost == 0
    assert slowest < 0.5
    assert machine.answered > 1000  # of the flood: who floods has his part, too


def test_row_103_what_a_fast_moment_could_is_not_believed_for_ever() -> None:
    """Else nothing is thrown away when the machine is slow again, and the queue stays full."""
    now = 0.0
    rates = Rates(lambda: now)
    for heard in (5000, 1000, 1000, 1000):
        rates.behind(10_000)
        for _ in range(heard):
            rates.admits(FLOOD, "127.0.0.1")
        rates.behind(10_000)
        now += rates.limits.window

    assert sum(rates.admits(FLOOD, "127.0.0.1") for _ in range(5000)) <= 500
