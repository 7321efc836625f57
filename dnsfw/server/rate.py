"""A flood from one asker costs the others nothing: what is too much is dropped, not queued.

While the daemon keeps up, nobody is limited and nothing is counted: that is the usual case,
and costs one comparison a batch. Once a listener is behind, each asker (a role at an
address) and each role has a bucket of tokens until it has caught up; a query without a
token is thrown away before anybody looks into it, which is ten times cheaper than an answer.
What comes faster than even that would fill the queue in which all wait: for as long, a
filter of the kernel's (`dnsfw_share`) keeps it out of a listener that was behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from dnsfw.engine.effects import Note
from dnsfw.model import Name, Reason, RoleId, RuleId, Verdict, abi

__all__ = ["RateLimits", "Rates"]

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What one asker, and one role, may ask while others have to wait."""

    asker: float = 1000.0  # queries a second; a busy crawler needs a tenth
    role: float = 4000.0  # all its askers together: below what one core answers
    burst: float = 0.1  # seconds of either, at once: 10 ms of the daemon's time
    hold: float = 2.0  # seconds after the last sign of a backlog; a flood pauses, too
    askers: int = 4096  # buckets; LAN clients may forge addresses


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Rates:
    """The buckets of one daemon, for all its listeners."""

    def __init__(self, now: Callable[[], float], limits: RateLimits = RateLimits()) -> None:
        """`now` in seconds, monotonic."""
        self.limits = limits
        self.dropped: Counter[RoleId] = Counter()
        self._told: Counter[RoleId] = Counter()
        self._now = now
        self._until = 0.0
        self._askers: dict[tuple[RoleId, str], _Bucket] = {}
        self._roles: dict[RoleId, _Bucket] = {}  # at most as many as there are roles

    def behind(self) -> None:
        """A listener has more to read than it can: from now on everybody is limited."""
        now = self._now()
        if now >= self._until:
            self._askers.clear()  # full ones: what was asked before did no harm
            self._roles.clear()
        self._until = now + self.limits.hold

    @property
    def limiting(self) -> bool:
        return self._until > 0 and self._now() < self._until

    def admits(self, role: RoleId, address: str) -> bool:
        """May this query be looked into? Counts it as dropped if not."""
        if self.takes(role, address):
            return True
        self.dropped[role] += 1
        return False

    def news(self) -> Iterator[Note]:
        """What was dropped since this was last asked, a note a role."""
        for role, count in (self.dropped - self._told).items():
            text = f"{count} queries: more than its share while others waited"
            yield Note(
                "dropped",
                Verdict.DENY,
                Reason.ASKER_RATE,
                role,
                Name(b""),
                RuleId(abi.RuleId.NONE),
                text,
            )
        self._told = self.dropped.copy()

    def takes(self, role: RoleId, address: str) -> bool:
        """The same for what can wait: TCP reads no more from who has no token."""
        now, limits = self._now(), self.limits
        if len(self._askers) >= limits.askers and (role, address) not in self._askers:
            self._askers.pop(next(iter(self._askers)))  # the oldest: likely full again
        asker = _filled(self._askers, (role, address), limits.asker, limits.burst, now)
        whole = _filled(self._roles, role, limits.role, limits.burst, now)
        if asker.tokens < 1 or whole.tokens < 1:
            return False
        asker.tokens -= 1
        whole.tokens -= 1
        return True


def _filled(
    buckets: dict[_Key, _Bucket], key: _Key, rate: float, burst: float, now: float
) -> _Bucket:
    """The bucket with what has come in since it was last looked at."""
    bucket = buckets.get(key)
    if bucket is None:
        bucket = buckets[key] = _Bucket(rate * burst, now)
    bucket.tokens = min(rate * burst, bucket.tokens + (now - bucket.at) * rate)
    bucket.at = now
    return bucket
