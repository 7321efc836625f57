"""One address as the ledger sees it: who holds it, through which piece, until when."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from dnsfw.engine.slots import Piece
from dnsfw.model import Addr, Grant, Name, Nanos, RoleId

Chain = tuple[Name, ...]
Key = tuple[RoleId, Addr]

NEVER = Nanos(0)
_GHOST_NAMES = 8  # enough to tell an operator who held an address


@dataclass(slots=True)
class Holding:
    """One name behind one piece. `before` is the deadline the last renewal replaced."""

    until: Nanos
    chain: Chain = ()
    before: Nanos = NEVER


@dataclass(slots=True)
class Group:
    """Everybody behind one piece; `tail` stands for names that were folded away."""

    until: Nanos = NEVER
    tail: Nanos = NEVER
    names: dict[Name, Holding] = field(default_factory=dict)  # in order of use

    def renew(self, name: Name, until: Nanos, chain: Chain) -> bool:
        """True when the name was here and now stays until then."""
        held = self.names.pop(name, None)
        if held is None:
            return False
        self.names[name] = Holding(max(until, held.until), chain, held.until)
        self.until = max(self.until, until)
        return True

    def add(self, name: Name, until: Nanos, chain: Chain) -> None:
        self.names[name] = Holding(until, chain)
        self.until = max(self.until, until)

    def fold(self, until: Nanos) -> None:
        """Keep the deadline of a name that is not remembered."""
        self.tail = max(self.tail, until)
        self.until = max(self.until, until)

    def recount(self) -> None:
        self.until = max((held.until for held in self.names.values()), default=NEVER)
        self.until = max(self.until, self.tail)


@dataclass(slots=True)
class Place:
    """What one role holds on one address. `written` is what the kernel was told, None
    when a write failed and nobody knows; `check` is when the sweep looks again.
    """

    groups: dict[Piece, Group] = field(default_factory=dict)
    written: tuple[Grant, ...] | None = ()
    check: Nanos = NEVER

    def pieces(self, now: Nanos) -> dict[Piece, Nanos]:
        return {piece: group.until for piece, group in self.groups.items() if group.until > now}

    def names(self) -> set[Name]:
        return {name for group in self.groups.values() for name in group.names}

    def held_by(self, name: Name, now: Nanos) -> dict[Piece, Holding]:
        """What a name still holds here."""
        return {
            piece: held
            for piece, group in self.groups.items()
            if (held := group.names.get(name)) is not None and held.until > now
        }

    def has(self, name: Name) -> bool:
        return any(name in group.names for group in self.groups.values())


class NameIndex:
    """How many addresses each name holds; kept in step by the ledger."""

    def __init__(self) -> None:
        self._addrs: dict[tuple[RoleId, Name], set[Addr]] = {}
        self.pairs = 0

    def link(self, role: RoleId, name: Name, addr: Addr) -> None:
        addrs = self._addrs.setdefault((role, name), set())
        if addr not in addrs:
            addrs.add(addr)
            self.pairs += 1

    def unlink(self, role: RoleId, name: Name, addr: Addr) -> None:
        addrs = self._addrs.get((role, name))
        if addrs is None or addr not in addrs:
            return
        addrs.discard(addr)
        self.pairs -= 1
        if not addrs:
            del self._addrs[role, name]

    def addresses(self, role: RoleId, name: Name) -> Collection[Addr]:
        return self._addrs.get((role, name), ())


class Ghosts:
    """Last names of addresses whose grant has ended: for events, and for flows that go on."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: OrderedDict[Key, dict[Name, Chain]] = OrderedDict()
        self.in_use: frozenset[Key] = frozenset()

    def __len__(self) -> int:
        return len(self._names)

    def add(self, key: Key, name: Name, chain: Chain) -> None:
        names = self._names.setdefault(key, {})
        self._names.move_to_end(key)
        names.pop(name, None)
        names[name] = chain
        if len(names) > _GHOST_NAMES:
            del names[next(iter(names))]
        if len(self._names) > self._limit:
            self._forget_one()

    def _forget_one(self) -> None:
        """The oldest that no flow needs, among the oldest few: looking at all costs too much."""
        oldest = next(iter(self._names))
        for _ in range(64):
            key = next(iter(self._names))
            if key not in self.in_use:
                del self._names[key]
                return
            self._names.move_to_end(key)
        del self._names[oldest]

    def names(self, key: Key) -> Iterator[tuple[Name, Chain]]:
        """The latest first."""
        return reversed(self._names.get(key, {}).items())
