"""One address as the ledger sees it: who holds it, through which piece, until when."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from enum import Enum

from dnsfw.engine.effects import Holder
from dnsfw.engine.fair import Room
from dnsfw.engine.slots import Piece, Pieces
from dnsfw.model import Addr, Entry, Grant, Name, Nanos, RoleId, RuleId, Verdict
from dnsfw.values import dataclass

Chain = tuple[Name, ...]
Key = tuple[RoleId, Addr]
Claim = tuple[Piece, Nanos]

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
    opened_by: frozenset[RuleId] = frozenset()  # the rules whose room it takes

    def opening_rules(self) -> frozenset[RuleId]:
        """The rules that open ports of it; one that only closes has no cap."""
        return frozenset(p.rule for p in self.groups if p.verdict is Verdict.ALLOW)

    def pieces(self, now: Nanos) -> dict[Piece, Nanos]:
        return {piece: group.until for piece, group in self.groups.items() if group.until > now}

    def holdings(self, now: Nanos) -> dict[Name, dict[Piece, Holding]]:
        """What each name still holds here."""
        found: dict[Name, dict[Piece, Holding]] = {}
        for piece, group in self.groups.items():
            for name, held in group.names.items():
                if held.until > now:
                    found.setdefault(name, {})[piece] = held
        return found

    def only(self, now: Nanos) -> tuple[Piece, Name, Holding] | None:
        """Who holds it alone: nearly every place. None: it is held by more than one."""
        if len(self.groups) != 1:
            return None
        ((piece, group),) = self.groups.items()
        if group.tail > now or len(group.names) != 1:
            return None
        ((name, held),) = group.names.items()
        return piece, name, held

    def latest(self) -> list[tuple[Name, Holding]]:
        """Everybody who is remembered here, the latest deadline first."""
        held = [item for group in self.groups.values() for item in reversed(group.names.items())]
        return sorted(held, key=lambda item: -item[1].until)

    def has(self, name: Name) -> bool:
        return any(name in group.names for group in self.groups.values())


# A place that one name holds by one opening piece, without a chain: nearly every one. The piece
# by its number, until when, the name, what `Holding.before` and `Place.check` are. It takes a
# third of the room of a `Place`, of the time to make one, and none of the garbage collector's.
Lone = tuple[int, Nanos, Name, Nanos, Nanos]


def grant_of(lone: Lone, pieces: Pieces) -> Grant:
    """What the kernel was told."""
    piece = pieces.of(lone[0])
    return Grant(lone[1], piece.rule, piece.ports, piece.verdict)


def whole(lone: Lone, pieces: Pieces) -> Place:
    """The same place, with room for more."""
    number, until, name, before, check = lone
    piece = pieces.of(number)
    groups = {piece: Group(until, NEVER, {name: Holding(until, (), before)})}
    return Place(groups, (grant_of(lone, pieces),), check, frozenset((piece.rule,)))


def write(
    place: Place, role: RoleId, addr: Addr, grants: tuple[Grant, ...], entries: list[Entry]
) -> None:
    """Note what the kernel is to be told, if it is new."""
    if grants != place.written:
        place.written = grants
        entries.append(Entry(role, addr, grants))


def regrouped(
    place: Place,
    kept: Iterable[Piece],
    judged: Mapping[Name, tuple[Mapping[Piece, Holding], Collection[Piece]]],
) -> dict[Piece, Group]:
    """The groups of names that were judged again: what each held, and the pieces it has now."""
    groups: dict[Piece, Group] = {}
    for piece in kept:
        groups.setdefault(piece, Group()).fold(place.groups[piece].tail)
    for name, (held, pieces) in judged.items():
        least = min(holding.until for holding in held.values())
        for piece in pieces:
            until = held[piece].until if piece in held else least
            chain = next(iter(held.values())).chain
            groups.setdefault(piece, Group()).add(name, until, chain)
    return groups


class NameIndex:
    """How many addresses each name holds; kept in step by the ledger."""

    def __init__(self, limit: int) -> None:
        # Of most names one address: a set is a quarter of a kilobyte.
        self._addrs: dict[tuple[RoleId, Name], Addr | set[Addr]] = {}
        self.room = Room(limit)

    def link(self, role: RoleId, name: Name, addr: Addr) -> None:
        key = (role, name)
        held = self._addrs.get(key)
        if held is None:
            self._addrs[key] = addr
        elif isinstance(held, set):
            if addr in held:
                return
            held.add(addr)
        elif held == addr:
            return
        else:
            self._addrs[key] = {held, addr}
        self.room.take(role)

    def unlink(self, role: RoleId, name: Name, addr: Addr) -> None:
        key = (role, name)
        held = self._addrs.get(key)
        if held == addr:
            del self._addrs[key]
        elif isinstance(held, set) and addr in held:
            held.discard(addr)
            if not held:
                del self._addrs[key]
        else:
            return
        self.room.give(role)

    def addresses(self, role: RoleId, name: Name) -> Collection[Addr]:
        held = self._addrs.get((role, name), ())
        return held if isinstance(held, (set, tuple)) else (held,)


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


class Left(Enum):
    """Why an address was left out."""

    FULL = "the grants table is full"
    SLOTS = "too many different port sets on one address"
    RULE = "the rule holds as many live addresses as it may"
    NAME = "too many live addresses for one name"
    CLOSED = "a denied name closes it"


@dataclass(slots=True)
class Outcome:
    """What came of putting a name on addresses."""

    held: list[Addr] = field(default_factory=list)
    left: dict[Addr, Left] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)  # to be written, in this order
    holders: list[Holder] = field(default_factory=list)
    shared: list[tuple[Addr, Name]] = field(default_factory=list)  # allowed and denied at once
    shut: bool = False  # a closing took ports away from an allowed name


@dataclass(frozen=True, slots=True)
class GrantRow:
    """One slot of one place, with the names behind it, for people."""

    role: RoleId
    addr: Addr
    names: tuple[Name, ...]
    grant: Grant


def behind(place: Place, grant: Grant) -> tuple[Name, ...]:
    """The names behind one slot, the latest first."""
    names: dict[Name, None] = {}
    for piece, group in place.groups.items():
        if piece.verdict is grant.verdict and piece.ports.intersect(grant.ports):
            names |= dict.fromkeys(reversed(group.names))
    return tuple(names)


def report_sharing(
    place: Place,
    name: Name,
    addr: Addr,
    claims: Sequence[Claim],
    before: Iterable[Piece],
    out: Outcome,
) -> None:
    """Say when an address is allowed by one name and denied by another."""
    for other in before:
        for piece, _ in claims:
            if piece.verdict is other.verdict or not piece.ports.intersect(other.ports):
                continue
            out.shut |= piece.verdict is Verdict.DENY and not piece.yields
            names = place.groups[other].names
            if name not in names and names:
                out.shared.append((addr, next(reversed(names))))
