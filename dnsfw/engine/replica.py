"""Copies of ready replies in a process that only answers: what `Engine.copy` gave away.

It judges nothing and asks nobody. Whoever gives must take back: `clear` comes before anything
that the engine empties its own front for. A copy tells the truth until its own end, which lies
before that of the grants behind it, so a process that is told nothing any more falls silent.
"""

from __future__ import annotations

from dnsfw.engine.cache import KEY_FLAGS, CacheKey, Front, Ready, seconds_since
from dnsfw.engine.limits import Limits
from dnsfw.engine.replies import Replies
from dnsfw.model import SECOND, Nanos, RoleId
from dnsfw.wire.message import peek

__all__ = ["Replica"]

_SHARE = 10  # of a reply's life is the last part, in which one in use is asked for anew
_LEAD = SECOND  # the least of that


class Replica:
    """Bounded, and apart for each role, as the engine's front is."""

    def __init__(self, limit: int = Limits().front) -> None:
        self._front = Front(limit)
        self._fading: dict[CacheKey, Nanos] = {}

    def __len__(self) -> int:
        return len(self._front)

    @property
    def replies(self) -> Replies:
        """Those of queries that are repeated to the octet."""
        return self._front.replies

    def put(self, key: CacheKey, ready: Ready) -> None:
        self._front.put(key, ready)

    def clear(self) -> None:
        self._front.clear()
        self._fading.clear()

    def reply(self, wire: bytes, role: RoleId, now: Nanos) -> bytes | None:
        """The reply, if it is here and still true."""
        if (asked := peek(wire)) is None:
            return None
        key = CacheKey(role, asked.key, asked.do, asked.flags & KEY_FLAGS)
        ready = self._front.get(key)
        if ready is None or now >= ready.until:
            return None
        self._front.replies.hits[role] += 1
        self._front.repeat(wire, asked, role, ready, now)
        if ready.until - now <= max((ready.until - ready.born) // _SHARE, _LEAD):
            self._fading[key] = ready.until
        return ready.template.render(asked, seconds_since(ready.born, now))

    def fading(self) -> list[tuple[CacheKey, Nanos]]:
        """What was used in its last part since this was asked: key and end, each once."""
        if not self._fading:
            return []
        found, self._fading = list(self._fading.items()), {}
        return found
