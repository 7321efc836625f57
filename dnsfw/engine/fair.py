"""How roles share a table that cannot evict: none can fill it before the others come.

What lives in such a table must not make room (promise 2), so room has to be left in time.
A role may hold at most GREED times of what is still free (the dynamic thresholds of
Choudhury and Hahne, 1998): alone it gets nearly all, many greedy ones get equal parts,
and whoever comes late always finds room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

__all__ = ["GREED", "Room"]

GREED = 8  # one role alone gets 8/9 of a table, two greedy ones 8/17 each


class Room:
    """Counts who holds how much of one table. While there is one role, it may have all."""

    __slots__ = ("_limit", "_mine", "plenty", "shared", "taken")

    def __init__(self, limit: int) -> None:
        self.shared = False  # more roles than one
        self.taken = 0
        self._limit = limit
        self.plenty = GREED * (limit + 1) // (GREED + 1)  # up to here nobody can want too much
        self._mine: Counter[Hashable] = Counter()

    def left(self, role: Hashable, more: int = 1) -> bool:
        """Whether the role may take so many more places, one after the other."""
        free = self._limit - self.taken - more + 1
        return free > 0 and (not self.shared or self._mine[role] + more <= GREED * free)

    def take(self, role: Hashable, more: int = 1) -> None:
        self.taken += more
        self._mine[role] += more

    def give(self, role: Hashable) -> None:
        self.taken -= 1
        self._mine[role] -= 1
        if not self._mine[role]:
            del self._mine[role]

    def of(self, role: Hashable) -> int:
        """How many places a role has."""
        return self._mine[role]
