"""Questions that have just failed, and are not asked again for a while (RFC 9520).

Off the hot path, so a library's table does: cachetools' TLRUCache with the engine's clock,
one for each role, so that none can learn from it what another asked.
"""

from __future__ import annotations

from collections.abc import Container

from cachetools import TLRUCache

from dnsfw.engine.limits import FAILURE_MIN, QUESTION_FAILURE_MAX
from dnsfw.model import Nanos, RoleId
from dnsfw.values import dataclass
from dnsfw.wire.message import Ede

__all__ = ["Failures"]

_Key = tuple[RoleId, bytes, bool, int]  # cache.CacheKey


@dataclass(frozen=True, slots=True)
class _Failure:
    until: Nanos
    step: int
    ede: Ede


class Failures:
    """At most `size` of all roles together; the role with the most makes room."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.parts: dict[RoleId, TLRUCache[_Key, _Failure]] = {}
        self._now = Nanos(0)

    def __len__(self) -> int:
        return int(sum(part.currsize for part in self.parts.values()))

    def find(self, key: _Key, now: Nanos) -> Ede | None:
        """How this question failed, so recently that nobody is asked again."""
        failure = self._of(key, now)
        return failure.ede if failure is not None and now < failure.until else None

    def remember(self, key: _Key, ede: Ede, now: Nanos) -> None:
        """Each failure in a row is remembered twice as long as the one before it."""
        last = self._of(key, now)
        if last is not None and now < last.until:
            return  # the same failure, told to one more client
        step = min(2 * last.step, QUESTION_FAILURE_MAX) if last else FAILURE_MIN
        part = self.parts.get(key[0])
        if part is None:
            # Kept for as long again, so that another one in a row is known to be that.
            part = self.parts[key[0]] = TLRUCache(
                self._size, lambda _, held, __: held.until + held.step, lambda: self._now
            )
        part[key] = _Failure(Nanos(now + step), step, ede)
        while len(self) > self._size:
            max(self.parts.values(), key=lambda one: one.currsize).popitem()

    def forget(self, key: _Key) -> None:
        """It was answered."""
        if (part := self.parts.get(key[0])) is not None:
            part.pop(key, None)

    def keep(self, roles: Container[RoleId]) -> None:
        """Forget those of roles that are no more."""
        self.parts = {role: part for role, part in self.parts.items() if role in roles}

    def _of(self, key: _Key, now: Nanos) -> _Failure | None:
        part = self.parts.get(key[0])
        if part is None:
            return None
        self._now = now
        return part.get(key)
