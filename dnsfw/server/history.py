"""What `explain` can say of the past: bounded rings in memory, so that it outlives a grant.

Three of them, so that a flood in one leaves the others alone: events by their number, what
names have opened, and what was refused how often and to whom. It remembers and decides
nothing. Where the policy wants it, everything goes to disk as well (`server.remembering`).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, Protocol

from dnsfw.datapath import abi
from dnsfw.engine.effects import Client, Note, OpenThenReply
from dnsfw.model import NO_ROLE, Addr, Name, Nanos, RoleId, RuleId
from dnsfw.server.escape import safe
from dnsfw.server.who_asks import NOBODY, Who
from dnsfw.values import dataclass

__all__ = ["Happened", "History", "Learnt", "Refusals", "Remembers", "Seen"]

EVENTS = 16_384  # numbered happenings: two minutes of a hundred refusals a second
LEARNT = 16_384  # (role, name, address): about 8 MB
REFUSED = 8_192  # (role, name) and (role, address)

Happened = Note | abi.Event
_new = tuple.__new__  # of a named tuple, without the call in between


@dataclass(frozen=True, slots=True)
class Seen:
    """One happening, as it was told."""

    at: float
    what: Happened
    names: tuple[Name, ...]  # who held the address at that moment
    who: Who = NOBODY


class Learnt(NamedTuple):
    """A name that opened (or closed) an address."""

    role: RoleId
    name: Name
    addr: Addr
    rule: RuleId
    chain: tuple[Name, ...]
    first: float
    last: float
    until: Nanos
    who: Who  # that asked last; NOBODY when dnsfw did
    times: int = 1


@dataclass(slots=True)
class Refusals:
    """How often, when, and to whom last."""

    first: float
    last: float
    who: Who
    what: Happened
    count: int = 1


class Remembers(Protocol):
    """Who keeps more of it, and longer."""

    def happened(self, number: int, seen: Seen) -> None: ...

    def learnt(self, item: Learnt) -> None: ...


class History:
    """Filled by the performer and the reporter, read by the verb `explain`."""

    def __init__(
        self,
        names: Callable[[RoleId, Addr], tuple[Name, ...]] = lambda role, addr: (),
        wall: Callable[[], float] = time.time,
        who: Callable[[Client | None], Who] = lambda client: NOBODY,
        *,
        events: int = EVENTS,
        learnt: int = LEARNT,
        refused: int = REFUSED,
    ) -> None:
        self._names = names
        self.disk: Remembers | None = None
        self._wall = wall
        self._who = who
        self._limits = (events, learnt, refused)
        self._last = 0
        self._events: OrderedDict[int, Seen] = OrderedDict()
        self._learnt: OrderedDict[tuple[RoleId, Addr, Name], Learnt] = OrderedDict()
        self._refused: OrderedDict[Hashable, Refusals] = OrderedDict()

    def __len__(self) -> int:
        return len(self._events) + len(self._learnt) + len(self._refused)

    # it happens

    def begin_at(self, number: int) -> None:
        """The numbers up to this one are taken, by happenings of earlier runs."""
        self._last = max(self._last, number)

    def happened(
        self, what: Happened, client: Client | None = None, who: Who | None = None
    ) -> int:
        """Remember a happening; returns its number, which no other has."""
        self._last += 1
        at = self._wall()
        names: tuple[Name, ...] = ()
        if isinstance(what, Note):
            key: Hashable = (what.role, what.name)
            who = who or self._who(client)
        else:
            role, addr = RoleId(what.role), Addr(what.addr)
            names, key = self._names(role, addr), (role, addr)
            who = Who(pid=what.pid, command=safe(what.comm))
        seen = self._events[self._last] = Seen(at, what, names, who)
        if len(self._events) > self._limits[0]:
            self._events.popitem(last=False)
        self._count(key, seen)
        if self.disk is not None:
            self.disk.happened(self._last, seen)
        return self._last

    def opened(self, effects: Iterable[OpenThenReply]) -> None:
        """Names have opened addresses: the kernel has taken it."""
        at, learnt, disk, most = self._wall(), self._learnt, self.disk, self._limits[1]
        for _, holders, replies, _ in effects:
            who = self._who(replies[0][0]) if replies else NOBODY
            for role, addr, name, rule, until, chain in holders:
                key, first, times = (role, addr, name), at, 1
                if (known := learnt.get(key)) is not None:
                    first, times, until = known[5], known[9] + 1, max(until, known[7])
                    learnt.move_to_end(key)
                elif len(learnt) >= most:
                    learnt.popitem(last=False)
                item = _new(Learnt, (role, name, addr, rule, chain, first, at, until, who, times))
                learnt[key] = item
                if disk is not None:
                    disk.learnt(item)

    def _count(self, key: Hashable, seen: Seen) -> None:
        known = self._refused.get(key)
        if known is None:
            self._refused[key] = Refusals(seen.at, seen.at, seen.who, seen.what)
            if len(self._refused) > self._limits[2]:
                self._refused.popitem(last=False)
        else:
            known.count += 1
            known.last, known.what = seen.at, seen.what
            if seen.who is not NOBODY:
                known.who = seen.who
            self._refused.move_to_end(key)

    # people ask

    def event(self, number: int) -> Seen | None:
        """A happening by its number; None for one that never was or is forgotten."""
        return self._events.get(number)

    def learnt(
        self, role: RoleId, *, name: Name | None = None, addr: Addr | None = None
    ) -> Iterator[Learnt]:
        """What a name (also one on the way of a chain) opened, or who opened an address; the
        latest first.
        """
        for item in reversed(list(self._learnt.values())):
            if item.role != role:
                continue
            if item.addr == addr or (name is not None and name in (item.name, *item.chain)):
                yield item

    def refused(self, role: RoleId, what: Name | Addr) -> Refusals | None:
        """How often a name was refused (or kept from opening), or packets to an address."""
        return self._refused.get((role, what))

    @staticmethod
    def role_of(seen: Seen) -> RoleId:
        """Whose happening it was."""
        return RoleId(seen.what.role or NO_ROLE)
