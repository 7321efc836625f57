"""What happened, told to people: `watch` hears everything, the log hears a digest.

A workload can make 50,000 refusals a second. The log says each distinct one once a
window with a count of its likes, and no more than a few lines a second in all; a
watcher that reads too slowly loses lines and is told how many. Neither ever waits.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from dnsfw.model import SECOND, Nanos
from dnsfw.server.clock import Now
from dnsfw.values import dataclass

__all__ = ["Digest", "Happening", "Watcher", "Watchers"]

Happening = Mapping[str, Any]  # a row of `watch`, ready for JSON

WINDOW = 1 * SECOND
LINES_A_SECOND = 10
BURST = 50
_ALIKE_KEPT = 1024
_MAX_WATCHERS = 16
_WATCHER_QUEUE = 2048


@dataclass(slots=True)
class _Said:
    text: str
    since: Nanos
    count: int = 0  # of its likes since then


class Digest:
    """Turns a flood of happenings into lines: one a window for equal ones, few in all."""

    def __init__(self, now: Now, say: Callable[[str], None]) -> None:
        self.kept_back = 0  # happenings that no line of their own was spent on
        self._now = now
        self._say = say
        self._alike: OrderedDict[Hashable, _Said] = OrderedDict()
        self._tokens = float(BURST)
        self._filled = now()
        self._silenced = 0

    def add(self, key: Hashable, text: Callable[[], str]) -> None:
        """Say `text()`, unless its like was said in this window or there is too much to say."""
        now = self._now()
        known = self._alike.get(key)
        if known is not None and now - known.since < WINDOW:
            known.count += 1
            self.kept_back += 1
            return
        if not self._may_say(now):
            self._silenced += 1
            self.kept_back += 1
            return
        said = text()
        self._alike[key] = _Said(said, now)
        self._alike.move_to_end(key)
        if len(self._alike) > _ALIKE_KEPT:
            self._alike.popitem(last=False)
        self._say(f"{said} (+{known.count} alike)" if known and known.count else said)

    def flush(self) -> None:
        """Once a second: say the counts that no later line will carry."""
        now = self._now()
        while self._alike:
            key, known = next(iter(self._alike.items()))
            if now - known.since < WINDOW:
                break
            del self._alike[key]
            if known.count and self._may_say(now):
                self._say(f"{known.text} (+{known.count} alike)")
        if self._silenced and self._may_say(now):
            self._say(f"{self._silenced} more events were not logged; see `dnsfw watch`")
            self._silenced = 0

    def _may_say(self, now: Nanos) -> bool:
        filled = self._tokens + (now - self._filled) / SECOND * LINES_A_SECOND
        self._tokens = min(float(BURST), filled)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Watcher:
    """One reader of the stream, with a bounded queue."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._queue: deque[Happening] = deque()
        self._missed = 0
        self._wake = wake

    def put(self, happening: Happening) -> None:
        if len(self._queue) >= _WATCHER_QUEUE:
            self._missed += 1
            return
        self._queue.append(happening)
        if len(self._queue) == 1:
            self._wake()

    def take(self) -> list[Happening]:
        """Everything that waits; a last row says how many were missed after it."""
        rows = list(self._queue)
        self._queue.clear()
        if self._missed:
            rows.append({"kind": "missed", "count": self._missed})
            self._missed = 0
        return rows


class Watchers:
    """All of them. Costs nothing while nobody watches."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    def __bool__(self) -> bool:
        return bool(self._watchers)

    def add(self, wake: Callable[[], None]) -> Watcher | None:
        """A new watcher, or None where there are too many."""
        if len(self._watchers) >= _MAX_WATCHERS:
            return None
        watcher = Watcher(wake)
        self._watchers.add(watcher)
        return watcher

    def remove(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    def put(self, happening: Happening) -> None:
        for watcher in self._watchers:
            watcher.put(happening)
