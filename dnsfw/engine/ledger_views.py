"""What people and flows ask of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dnsfw.engine.places import (
    Chain,
    Ghosts,
    GrantRow,
    Key,
    Lone,
    NameIndex,
    Place,
    behind,
    grant_of,
)
from dnsfw.engine.slots import Pieces
from dnsfw.model import Addr, Grant, Name, Nanos, RoleId

__all__ = ["LedgerViews"]


class LedgerViews:
    """The half of `Ledger` that opens and closes nothing."""

    _ghosts: Ghosts
    _index: NameIndex
    _lone: dict[Key, Lone]
    _pieces: Pieces
    _places: dict[Key, Place]

    def names(self, role: RoleId, addr: Addr) -> Iterator[tuple[Name, Chain]]:
        """Who holds an address, the latest deadline first, and then who held it."""
        place = self._places.get((role, addr))
        seen: set[Name] = set()
        if (lone := self._lone.get((role, addr))) is not None:
            seen.add(lone[2])
            yield lone[2], ()
        if place is not None:
            for name, holding in place.latest():
                if name not in seen:
                    seen.add(name)
                    yield name, holding.chain
        for name, chain in self._ghosts.names((role, addr)):
            if name not in seen:
                yield name, chain

    def remember(self, role: RoleId, name: Name, addrs: Iterable[Addr], chain: Chain) -> None:
        """A name that was told with addresses it does not hold: for events to say."""
        for addr in addrs:
            self._ghosts.add((role, addr), name, chain)

    def addresses(self, role: RoleId, name: Name) -> tuple[Addr, ...]:
        """Which addresses a name holds; those whose time is over until the next sweep."""
        return tuple(sorted(self._index.addresses(role, name)))

    def written(self, role: RoleId, addr: Addr) -> tuple[Grant, ...]:
        """What the kernel was told of an address; empty when unknown."""
        if (lone := self._lone.get((role, addr))) is not None:
            return (grant_of(lone, self._pieces),)
        place = self._places.get((role, addr))
        return (place.written or ()) if place else ()

    def rows(self, now: Nanos) -> Iterator[GrantRow]:
        for (role, addr), lone in self._lone.items():
            if lone[1] > now:
                yield GrantRow(role, addr, (lone[2],), grant_of(lone, self._pieces))
        for (role, addr), place in self._places.items():
            for grant in place.written or ():
                if grant.until > now:
                    yield GrantRow(role, addr, behind(place, grant), grant)

    def in_use(self, keys: Iterable[Key]) -> None:
        """Keep the names of these addresses, though their grants may end: flows go on."""
        self._ghosts.in_use = frozenset(keys)
