"""Whole replies by whole queries: what a repeated question costs is one look-up of its bytes.

The front of the cache still reads a query and patches a reply; this table holds what it
made of it, for as long as every octet but the id stays the same: until the next second
takes one off the TTLs. A query is looked up as it came (flags, case and OPT in it), so
whatever differs is another question, and goes the long way.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from dnsfw.model import Nanos, RoleId

__all__ = ["ID", "LONGEST", "Replies", "Said"]

ID = 2  # octets in front of a message that belong to no question
LONGEST = 128  # octets behind them: a query that is kept has fewer, as nearly every one has


class Said(NamedTuple):
    """A reply behind its id, true until then."""

    until: Nanos
    tail: bytes


class Replies:
    """Bounded, and apart for each role: what one repeats is not another's to find."""

    __slots__ = ("_by_role", "_limit", "_size", "hits")

    def __init__(self, limit: int) -> None:
        self.hits: Counter[RoleId] = Counter()  # the server adds what it answered from here
        self._limit = limit
        self._size = 0
        self._by_role: dict[RoleId, dict[bytes, Said]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_role.values()))

    def of(self, role: RoleId) -> dict[bytes, Said]:
        """What this role may hear, by the query behind its id; compare `until` with now."""
        found = self._by_role.get(role)
        if found is None:
            found = self._by_role[role] = {}
        return found

    def put(self, role: RoleId, wire: bytes, reply: bytes, until: Nanos) -> None:
        """Keep a reply to a query. Whoever has the most gives way to a new one."""
        if len(wire) >= ID + LONGEST:
            return  # who looks sees no more of a longer one, which must not look like this
        mine, key = self.of(role), wire[ID:]
        if key not in mine:
            if self._size >= self._limit > 0:
                most = max(self._by_role.values(), key=len)
                self._size -= len(most)
                most.clear()  # what is asked often is back at its next query
            self._size += 1
        mine[key] = Said(until, reply[ID:])

    def clear(self) -> None:
        """Before the policy changes, or a grant goes: nothing said before may be said again."""
        for held in self._by_role.values():  # the server may hold one of them
            held.clear()
        self._size = 0
