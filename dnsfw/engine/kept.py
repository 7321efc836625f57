"""A table of things that end: bounded by what they cost, the least used go first.

Two dictionary steps for each use, and a wheel for all ends, because every cold look-up
writes here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from dnsfw.engine.wheel import Wheel
from dnsfw.model import Nanos

__all__ = ["Kept"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """Nothing is found from its end on; `cost` is that of all that is held."""

    __slots__ = ("_ends", "_held", "_size", "cost", "has")

    def __init__(self, size: int) -> None:
        self.cost = 0
        self._size = size
        # In order of use. A plain dict finds its first item ever later, the more went before it.
        self._held: OrderedDict[Key, tuple[Value, Nanos, int]] = OrderedDict()
        self.has = self._held.__contains__  # what may have ended, too
        self._ends: Wheel[Key] = Wheel()  # some of them of what is gone

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key, now: Nanos) -> Value | None:
        """What is held, which thereby is the one used last."""
        found = self._held.get(key)
        if found is None:
            return None
        if now >= found[1]:
            self.pop(key)
            return None
        self._held.move_to_end(key)
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
        self._ends.put(key, until)
        if self._ends.size > 2 * len(self._held) + 64:
            self._ends.only((held[1], k) for k, held in self._held.items())

    def expire(self, now: Nanos) -> None:
        """Let go of what has ended."""
        for _, key in self._ends.take(now, len(self._ends)):
            held = self._held.get(key)
            if held is not None and held[1] <= now:
                self.pop(key)
            elif held is not None:
                self._ends.again(key, held[1])

    def drop(self) -> None:
        """Let go of the least used. Something must be held."""
        self.cost -= self._held.popitem(last=False)[1][2]
