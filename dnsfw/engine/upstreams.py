"""Which upstream to ask next, and how long to wait before another is asked beside it.

The operator's order holds: the first that is known to work is asked. One that failed rests
(RFC 9520), and is then asked again beside one that works, so that no client waits for a
proof that it still does not. How fast each answers is measured as RFC 6298 does it; a
question that takes longer than nearly all before it is asked of the next upstream too.
Those second questions come out of a budget, so a slow hour does not double the load.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dnsfw.engine.limits import FAILURE_MAX, FAILURE_MIN, TRY_PATIENCE
from dnsfw.model import Nanos
from dnsfw.values import dataclass

__all__ = ["UpstreamState", "Upstreams"]

_NEVER = Nanos(-1)
# A question earns the twentieth of a hedge: at most 5 % more questions, and a few at once.
_EARNED, _HEDGE, _MOST_HEDGES = 1, 20, 10
_HEDGE_MIN = 20_000_000  # no sooner: a host under load is that late by itself
_OUTDONE = 5  # questions in a row that it could not answer and another could
_LATE = 5  # questions in a row that were late


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """One upstream, for `status`."""

    asked: int
    answered: int
    failures: int  # that were held against it
    latency: int | None  # nanoseconds, smoothed; None: it never answered
    rests: int  # nanoseconds until it is asked again; 0: it is used


@dataclass(slots=True)
class _Health:
    fails: int = 0  # in a row
    bad_until: Nanos = _NEVER
    worked: Nanos = _NEVER
    probed_until: Nanos = _NEVER
    outdone: int = 0
    late: int = 0
    latency: int = 0  # RFC 6298: SRTT and RTTVAR
    spread: int = 0
    asked: int = 0
    answered: int = 0
    failures: int = 0


class Upstreams:
    """The operator's list, in the operator's order."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.hedges = 0
        self.calm = True  # none has failed since it answered last
        self._health = [_Health() for _ in range(count)]
        self._budget = _MOST_HEDGES * _HEDGE // 2

    def __len__(self) -> int:
        return self.count

    def pick(self, tried: Sequence[int], broken: Collection[int], now: Nanos) -> int | None:
        """The next to ask: least tried for this question, working, first in the list.

        `broken` have said that they cannot. When none is known to work, the one whose rest
        ends first is asked all the same: giving up is worse than trying. None: nobody is left.
        """

        def rank(index: int) -> tuple[int, bool, Nanos, int]:
            health = self._health[index]
            resting = health.bad_until if health.bad_until > now else _NEVER
            return (tried.count(index), health.fails > 0, resting, index)

        able = (index for index in range(len(self._health)) if index not in broken)
        return min(able, key=rank, default=None)

    def asked(self, index: int) -> None:
        self._health[index].asked += 1

    def earn(self) -> None:
        """A question began."""
        self._budget = min(self._budget + _EARNED, _MOST_HEDGES * _HEDGE)

    def begun(self, index: int) -> None:
        """Both at once: a question began with this one."""
        self._health[index].asked += 1
        if self._budget < _MOST_HEDGES * _HEDGE:
            self._budget += _EARNED

    def probe(self, chosen: int, now: Nanos) -> int | None:
        """One that has rested and is to be asked beside the chosen one, to see if it works."""
        if self._health[chosen].fails:
            return None
        for index, health in enumerate(self._health):
            if health.fails and max(health.bad_until, health.probed_until) <= now:
                health.probed_until = Nanos(now + TRY_PATIENCE)
                return index
        return None

    def hedge_after(self, index: int) -> int:
        """How long most answers of this upstream take, at the longest."""
        health = self._health[index]
        if not health.answered:
            return TRY_PATIENCE
        return min(max(health.latency + 4 * health.spread, _HEDGE_MIN), TRY_PATIENCE)

    def late(self, index: int, asked: Nanos, now: Nanos) -> None:
        """It is later than usual. Many in a row and not a word between: it is gone, and the
        others need not wait until each of their questions has shown that.
        """
        health = self._health[index]
        if health.worked >= asked:
            return
        health.late += 1
        if health.late >= _LATE:
            self.failed(index, asked, now)

    def may_hedge(self, instead_of: int) -> bool:
        """Take a second question out of the budget; beside one that has failed it is no luxury."""
        if self._health[instead_of].fails:
            return True
        if self._budget < _HEDGE:
            return False
        self._budget -= _HEDGE
        self.hedges += 1
        return True

    def worked(self, index: int, asked: Nanos, now: Nanos) -> None:
        """It answered what it was asked then."""
        if index >= len(self._health):
            return
        health = self._health[index]
        took = now - asked if now > asked else 1
        if not health.answered:
            health.latency, health.spread = took, took // 2
        else:
            off = health.latency - took
            health.spread += ((off if off > 0 else -off) - health.spread) // 4
            health.latency += -off // 8
        health.answered += 1
        health.outdone = health.late = 0
        if health.fails:
            health.fails = 0
            self.calm = not any(one.fails for one in self._health)
        health.bad_until = health.probed_until = _NEVER
        health.worked = now

    def outdone(self, index: int, now: Nanos) -> None:
        """It could not answer what another could: one that never can is of no use."""
        if index < len(self._health):
            self._health[index].outdone += 1
            if self._health[index].outdone >= _OUTDONE:
                self.failed(index, now, now)

    def failed(self, index: int, asked: Nanos, now: Nanos) -> bool:
        """Let it rest, twice as long each time. False when it has answered somebody since
        it was asked: then the name is slow, not the upstream.
        """
        if index >= len(self._health):
            return False
        health = self._health[index]
        if health.worked >= asked:
            return False
        if now < health.bad_until:  # one outage, many questions: it counts once
            return True
        rest = min(FAILURE_MIN << min(health.fails, 16), FAILURE_MAX)
        health.fails += 1
        self.calm = False
        health.failures += 1
        health.bad_until = Nanos(now + rest)
        return True

    def healthy(self, now: Nanos) -> int:
        return sum(1 for health in self._health if health.bad_until <= now)

    def states(self, now: Nanos) -> list[UpstreamState]:
        return [
            UpstreamState(
                health.asked,
                health.answered,
                health.failures,
                health.latency if health.answered else None,
                max(0, health.bad_until - now) if health.fails else 0,
            )
            for health in self._health
        ]
