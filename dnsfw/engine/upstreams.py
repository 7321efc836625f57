"""Which upstream to ask next: the first healthy one, with a memory of failures (RFC 9520)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dnsfw.engine.limits import FAILURE_MAX, FAILURE_MIN
from dnsfw.model import Nanos

_NEVER = Nanos(-1)


@dataclass(slots=True)
class _Health:
    fails: int = 0
    bad_until: Nanos = _NEVER
    worked: Nanos = _NEVER


class Upstreams:
    """The operator's list, in the operator's order."""

    def __init__(self, count: int) -> None:
        self._health = [_Health() for _ in range(count)]

    def __len__(self) -> int:
        return len(self._health)

    def pick(self, tried: Sequence[int], broken: Collection[int], now: Nanos) -> int | None:
        """The next to ask: least tried for this question, healthy, first in the list.

        `broken` have said that they cannot. When none is healthy the one whose rest ends
        first is asked all the same: giving up is worse than trying. None: nobody is left.
        """

        def rank(index: int) -> tuple[int, Nanos, int]:
            resting = self._health[index].bad_until
            return (tried.count(index), resting if resting > now else _NEVER, index)

        able = (index for index in range(len(self._health)) if index not in broken)
        return min(able, key=rank, default=None)

    def worked(self, index: int, now: Nanos) -> None:
        if index < len(self._health):
            self._health[index] = _Health(worked=now)

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
        health.bad_until = Nanos(now + rest)
        return True

    def healthy(self, now: Nanos) -> int:
        return sum(1 for health in self._health if health.bad_until <= now)
