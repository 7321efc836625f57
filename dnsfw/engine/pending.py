"""Questions in flight: who waits for them, who was asked, and when to act next.

Equal questions share one `Pending`. Every client keeps its own patience, so the one
that asked first takes nobody along when it gives up. Roles wait apart: an answer is one
role's, and how soon it comes says nothing about what another asked.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import field
from heapq import heapify, heappop, heappush

from dnsfw.engine.cache import CacheKey
from dnsfw.engine.effects import Ask, AskId, Client
from dnsfw.engine.fair import Room
from dnsfw.engine.limits import CLIENT_PATIENCE, Limits
from dnsfw.model import Name, Nanos
from dnsfw.values import dataclass
from dnsfw.wire.message import Ede, Query

MAX_TRIES = 3  # asked at once for one question: each is a chance for a forger
MAX_JUNK = 10  # answers that do not fit: somebody is guessing, so go on over TCP


@dataclass(frozen=True, slots=True)
class Waiter:
    """A client that asked, and how long it waits."""

    client: Client
    query: Query
    deadline: Nanos


@dataclass(slots=True)
class Try:
    """One upstream that was asked."""

    ask: Ask
    since: Nanos
    until: Nanos  # silent for longer than this, it counts as a failure
    junk: int = 0
    blamed: bool = False


@dataclass(slots=True)
class Pending:
    """One question in flight. `closing`: dnsfw itself asks, for the addresses of a denied name."""

    key: CacheKey
    name: Name
    qtype: int
    until: Nanos  # nobody waits longer
    closing: bool = False
    waiters: dict[tuple[Hashable, int], Waiter] = field(default_factory=dict)
    tries: dict[AskId, Try] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)  # upstreams, in order
    broken: set[int] = field(default_factory=set)  # those that said they cannot
    next_try: Nanos = Nanos(0)
    hedge_at: Nanos | None = None  # when the next upstream is asked beside a slow one
    ede: Ede = Ede.NO_REACHABLE_AUTHORITY  # what went wrong last
    wake: Nanos = Nanos(0)

    def late(self, now: Nanos) -> list[Waiter]:
        """Take out the clients whose patience has ended."""
        out = [w for w in self.waiters.values() if w.deadline <= now]
        for waiter in out:
            del self.waiters[waiter.client.route, waiter.query.id]
        return out


class Table:
    """All questions in flight, found by question, by ask and by time."""

    def __init__(self, limits: Limits) -> None:
        self.room = Room(limits.pending)  # per role: a flood of one leaves room for the others
        self._limits = limits
        self.by_key: dict[tuple[CacheKey, bool], Pending] = {}
        self._by_ask: dict[AskId, Pending] = {}
        self._timers: list[tuple[Nanos, int, Pending]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self.by_key)

    def __iter__(self) -> Iterator[Pending]:
        return iter(list(self.by_key.values()))

    def find(self, key: CacheKey, *, closing: bool = False) -> Pending | None:
        return self.by_key.get((key, closing))

    def open(self, key: CacheKey, name: Name, qtype: int, now: Nanos, closing: bool) -> Pending:
        pending = Pending(key, name, qtype, Nanos(now + CLIENT_PATIENCE), closing)
        self.by_key[key, closing] = pending
        self.room.take(key.role)
        return pending

    def join(self, pending: Pending, client: Client, query: Query, now: Nanos) -> bool:
        """Let a client wait too; False when too many do. The same client twice counts once."""
        place = (client.route, query.id)
        if place not in pending.waiters and len(pending.waiters) >= self._limits.waiters:
            return False
        deadline = Nanos(now + CLIENT_PATIENCE)
        pending.waiters.setdefault(place, Waiter(client, query, deadline))
        pending.until = max(pending.until, deadline)
        return True

    def by_ask(self, ask: AskId) -> Pending | None:
        return self._by_ask.get(ask)

    def asked(self, pending: Pending, ask: Ask, now: Nanos, until: Nanos) -> list[AskId]:
        """Note a try; returns the oldest ones that are one too many."""
        pending.tries[ask.ask] = Try(ask, now, until)
        self._by_ask[ask.ask] = pending
        old = list(pending.tries)[:-MAX_TRIES]
        for one in old:
            self.drop(pending, one)
        return old

    def drop(self, pending: Pending, ask: AskId) -> None:
        """An answer to this try is not wanted any more."""
        pending.tries.pop(ask, None)
        self._by_ask.pop(ask, None)

    def close(self, pending: Pending) -> list[AskId]:
        """Forget a question; returns the tries that are still open."""
        asks = list(pending.tries)
        for ask in asks:
            self.drop(pending, ask)
        if self.by_key.pop((pending.key, pending.closing), None) is not None:
            self.room.give(pending.key.role)
        pending.wake = Nanos(0)
        return asks

    # --- time ---

    def schedule(self, pending: Pending) -> None:
        """Wake it for its next try, or when the first client's patience ends."""
        times = [pending.next_try, pending.until, *(w.deadline for w in pending.waiters.values())]
        first = min(times)
        if first == pending.wake:
            return
        pending.wake = first
        self._order += 1
        heappush(self._timers, (first, self._order, pending))
        if len(self._timers) > 4 * len(self.by_key) + 64:
            self._timers = [item for item in self._timers if item[2].wake == item[0]]
            heapify(self._timers)

    def next_wake(self) -> Nanos | None:
        while self._timers and self._timers[0][2].wake != self._timers[0][0]:
            heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def due(self, now: Nanos) -> Iterator[Pending]:
        """Those whose time has come; each once, to be scheduled again by the caller."""
        while (first := self.next_wake()) is not None and first <= now:
            pending = heappop(self._timers)[2]
            pending.wake = Nanos(0)
            yield pending
