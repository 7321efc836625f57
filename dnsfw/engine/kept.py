"""A table of things that end: bounded by what they cost, the least used go first.

Two dictionary steps for each use, and one heap for all ends, because every cold look-up
writes here.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

from dnsfw.model import Nanos

__all__ = ["Kept"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """Nothing is found from its end on; `cost` is that of all that is held."""

    __slots__ = ("_ends", "_held", "_size", "cost")

    def __init__(self, size: int) -> None:
        self.cost = 0
        self._size = size
        self._held: dict[Key, tuple[Value, Nanos, int]] = {}  # in order of use
        self._ends: list[tuple[Nanos, int, Key]] = []  # some of them of what is gone

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key, now: Nanos) -> Value | None:
        """What is held, which thereby is the one used last."""
        found = self._held.pop(key, None)
        if found is None:
            return None
        if now >= found[1]:
            self.cost -= found[2]
            return None
        self._held[key] = found
        return found[0]

    def pop(self, key: Key) -> None:
        if (gone := self._held.pop(key, None)) is not None:
            self.cost -= gone[2]

    def put(self, key: Key, value: Value, until: Nanos, cost: int, now: Nanos) -> None:
        """Hold it, in the place of what had its key. What ended, and then the least used, makes
        room; what costs more than all the room there is is not held.
        """
        if key in self._held:
            self.pop(key)
        if now >= until or cost > self._size:
            return
        if self.cost + cost > self._size:
            self.expire(now)
            while self.cost + cost > self._size:
                self.drop()
        self._held[key] = (value, until, cost)
        self.cost += cost
        heappush(self._ends, (until, id(key), key))
        if len(self._ends) > 2 * len(self._held) + 64:
            self._ends = [(held[1], id(k), k) for k, held in self._held.items()]
            heapify(self._ends)

    def expire(self, now: Nanos) -> None:
        """Let go of what has ended."""
        while self._ends and self._ends[0][0] <= now:
            key = heappop(self._ends)[2]
            held = self._held.get(key)
            if held is not None and held[1] <= now:
                self.pop(key)

    def drop(self) -> None:
        """Let go of the least used. Something must be held."""
        self.pop(next(iter(self._held)))
