"""What ends when: keys by the moment that concerns them, in slots of a sixteenth of a second.

To put one is an append, and to take one costs as little, where a heap compares its way through
memory that nobody has touched for seconds. A slot is taken when it is over, never before.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

from dnsfw.model import Nanos

__all__ = ["Wheel"]

_BITS = 26  # of nanoseconds: 67 ms

Key = TypeVar("Key", bound=Hashable)


class Wheel(Generic[Key]):
    """Keys may be in it more than once, and for no reason: whoever takes them looks."""

    __slots__ = ("_order", "_size", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, list[Key]] = {}
        self._order: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @staticmethod
    def slot(when: Nanos) -> int:
        """Where a moment belongs."""
        return when >> _BITS

    def put(self, key: Key, when: Nanos) -> None:
        slot = when >> _BITS
        here = self._slots.get(slot)
        if here is None:
            self._slots[slot] = [key]
            heappush(self._order, slot)
        else:
            here.append(key)
        self._size += 1

    def next(self) -> Nanos | None:
        """When there is something to take."""
        return Nanos((self._order[0] + 1) << _BITS) if self._order else None

    def take(self, now: Nanos, most: int) -> Iterator[tuple[int, Key]]:
        """At most so many keys of slots that are over, each with its slot. What is put meanwhile
        is put for later.
        """
        past = now >> _BITS
        while most > 0 and self._order and self._order[0] < past:
            slot = self._order[0]
            here = self._slots[slot]
            while here and most > 0:
                most -= 1
                self._size -= 1
                yield slot, here.pop()
            if not here:
                del self._slots[slot]
                heappop(self._order)

    def only(self, items: Iterable[tuple[Nanos, Key]]) -> None:
        """Forget all but these."""
        self._slots.clear()
        self._order.clear()
        self._size = 0
        for when, key in items:
            self.put(key, when)
