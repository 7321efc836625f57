"""What ends when: keys by the moment that concerns them, in slots of a sixteenth of a second.

To put one is an append, and to take one costs as little, where a heap compares its way through
memory that nobody has touched for seconds.
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
    """Keys may be in it more than once, and for no reason: whoever takes them looks. A slot comes
    whole, with the first of its moments, so what is put alone comes in time; for whom it is too
    early goes in `again`, until the slot is over.
    """

    __slots__ = ("_first", "_order", "_slots", "size")

    def __init__(self) -> None:
        self._slots: dict[int, list[Key]] = {}
        self._first: dict[int, Nanos] = {}  # moment of each
        self._order: list[int] = []
        self.size = 0

    def __len__(self) -> int:
        return self.size

    @staticmethod
    def slot(when: Nanos) -> int:
        """Where a moment belongs."""
        return when >> _BITS

    def put(self, key: Key, when: Nanos) -> None:
        slot = when >> _BITS
        here = self._slots.get(slot)
        if here is None:
            self._slots[slot] = [key]
            self._first[slot] = when
            heappush(self._order, slot)
        else:
            here.append(key)
            if when < self._first[slot]:
                self._first[slot] = when
        self.size += 1

    def again(self, key: Key, when: Nanos) -> None:
        """The same for what came too early: at the end of its slot, with all that is left."""
        slot = when >> _BITS
        if slot in self._slots:
            self._slots[slot].append(key)
            self.size += 1
        else:
            self.put(key, Nanos(((slot + 1) << _BITS) - 1))

    def next(self) -> Nanos | None:
        """When there is something to take."""
        return self._first[self._order[0]] if self._order else None

    def take(self, now: Nanos, most: int) -> Iterator[tuple[int, Key]]:
        """At most so many keys of slots whose first moment has come, each with its slot."""
        while most > 0 and self._order and self._first[self._order[0]] <= now:
            slot = heappop(self._order)
            here, first = self._slots.pop(slot), self._first.pop(slot)
            if len(here) > most:
                self._slots[slot], self._first[slot] = here[most:], first
                heappush(self._order, slot)
                del here[most:]
            most -= len(here)
            self.size -= len(here)
            for key in here:
                yield slot, key

    def only(self, items: Iterable[tuple[Nanos, Key]]) -> None:
        """Forget all but these."""
        self._slots.clear()
        self._first.clear()
        self._order.clear()
        self.size = 0
        for when, key in items:
            self.put(key, when)
