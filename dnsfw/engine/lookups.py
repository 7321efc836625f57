"""Asking upstreams: fresh ids, junk ignored, TCP after a cut, the next one when one fails.

It decides what to ask and when to give up; what an answer means is the engine's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import Protocol

from dnsfw.engine.cache import CacheKey
from dnsfw.engine.effects import Ask, AskId, Client, Effect, Forget, Transport
from dnsfw.engine.facts import Facts, read_facts
from dnsfw.engine.limits import CLIENT_PATIENCE, TCP_PATIENCE, TRY_PATIENCE, Limits
from dnsfw.engine.pending import MAX_JUNK, Pending, Table, Try, Waiter
from dnsfw.engine.stragglers import Stragglers, blame, read_for
from dnsfw.engine.upstreams import Upstreams
from dnsfw.errors import WireError
from dnsfw.model import SECOND, Name, Nanos
from dnsfw.values import dataclass
from dnsfw.wire.message import AD, CD, MAX_UDP, RD, Ede, Query, Rcode, Response
from dnsfw.wire.parts import HEADER, write_opt
from dnsfw.wire.reply import write_query

_EDE_OPTION = 15  # RFC 8914, section 2
_ID_BITS = 16
_DRAWN = 64  # at once


_ASKED, _ASKED_AD = (
    HEADER.pack(0, flags, 1, 0, 0, 1)[_ID_BITS // 8 :] for flags in (RD, RD | AD)
)
_OPT = write_opt(0, False, MAX_UDP)
_ARCOUNT = 11  # its low octet, in a query of ours: is there an OPT record?
_BARE_FOR = 600 * SECOND  # an old upstream is taken for old, until it is asked with EDNS again
_UDP = Transport.UDP
_new = tuple.__new__  # of a named tuple, without the call in between


class Rng(Protocol):
    """`random.SystemRandom` in production: ids must not be guessed."""

    def getrandbits(self, k: int, /) -> int: ...


class Ids:
    """Random numbers of 16 bits, many for each call to the system. Each is given once."""

    __slots__ = ("_left", "_rng")

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._left: list[int] = []

    def next(self) -> int:
        if not self._left:
            drawn = self._rng.getrandbits(_ID_BITS * _DRAWN)
            self._left = [drawn >> _ID_BITS * at & 0xFFFF for at in reversed(range(_DRAWN))]
        return self._left.pop()


@dataclass(slots=True)
class Done:
    """A question came to an end for these clients: with facts, or without."""

    pending: Pending
    waiters: list[Waiter]
    facts: Facts | None = None


@dataclass(slots=True)
class Step:
    """What one event leads to."""

    effects: list[Effect] = field(default_factory=list)
    done: Done | None = None


class Lookups:
    """Every question in flight and every upstream's health."""

    def __init__(self, upstreams: int, rng: Rng, limits: Limits) -> None:
        self.upstreams = Upstreams(upstreams)
        self.table = Table(limits)
        self.trusted: frozenset[int] = frozenset()  # upstreams whose AD bit is believed
        self.streams: frozenset[int] = frozenset()  # never asked over UDP
        self._bare: dict[int, Nanos] = {}  # upstreams that know no EDNS, believed until then
        self.stragglers = Stragglers(self.upstreams)
        self.junk = 0
        self.asked = 0
        self._ids = Ids(rng)
        self._next_ask = 0

    # --- questions come ---

    def join(self, key: CacheKey, client: Client, query: Query, now: Nanos) -> list[Effect] | None:
        """Let a client wait for an answer, asking if nobody has yet. None: no room."""
        pending = self.table.find(key)
        new = pending is None
        if pending is None:
            if not self.table.room.left(key.role) or not len(self.upstreams):
                return None
            pending = self.table.open(key, query.name, query.qtype, now, closing=False)
        if not self.table.join(pending, client, query, now):
            return None
        effects = self._try(pending, now) if new else []
        self.table.schedule(pending)
        return effects

    def close_name(self, key: CacheKey, name: Name, qtype: int, now: Nanos) -> list[Effect] | None:
        """Look a denied name up for ourselves. None: no room."""
        if not self.table.room.left(key.role) or not len(self.upstreams):
            return None
        if self.table.find(key, closing=True) is not None:
            return []
        pending = self.table.open(key, name, qtype, now, closing=True)
        effects = self._try(pending, now)
        self.table.schedule(pending)
        return effects

    def abandon(self, pending: Pending) -> Step:
        """Stop asking; whoever waits is in `done`."""
        waiters = list(pending.waiters.values())
        return Step([Forget(ask) for ask in self.table.close(pending)], Done(pending, waiters))

    def takes(self, key: CacheKey) -> bool:
        """Whether nobody waits for this question, there is room for it, and the first upstream
        is the one to ask, by a datagram, and no other beside it.
        """
        upstreams, room = self.upstreams, self.table.room
        return (
            upstreams.calm
            and upstreams.count > 0
            and 0 not in self._bare
            and 0 not in self.streams
            and (key, False) not in self.table.by_key
            and (room.taken < room.plenty or room.left(key[0]))
        )

    @property
    def patience(self) -> int:
        """How long the first upstream may take before somebody else is asked."""
        if self.upstreams.count <= 1:
            return TRY_PATIENCE
        return min(self.upstreams.hedge_after(0), TRY_PATIENCE)

    def ask_usual(self, question: bytes, now: Nanos) -> Ask:
        """A plain question to the first upstream, while all is as `usual`."""
        self._next_ask += 1
        self.asked += 1
        self.upstreams.begun(0)
        id_ = self._ids.next().to_bytes(2, "big")
        wire = id_ + (_ASKED_AD if 0 in self.trusted else _ASKED) + question + _OPT
        return _new(Ask, (self._next_ask, 0, _UDP, wire, now + CLIENT_PATIENCE))

    def resume(
        self, key: CacheKey, client: Client, query: Query, ask: Ask, since: Nanos, late: Nanos
    ) -> None:
        """Go on with what `ask_usual` has begun, as if it had been asked by `join`."""
        pending = self.table.open(key, query.name, query.qtype, since, closing=False)
        self.table.join(pending, client, query, since)
        pending.asked.append(ask.upstream)
        until = pending.next_try = Nanos(since + TRY_PATIENCE)
        self.table.asked(pending, ask, since, until)
        if len(self.upstreams) > 1:
            pending.hedge_at = late
            pending.next_try = min(until, late)
        self.table.schedule(pending)

    # --- answers come ---

    def on_answer(self, ask: AskId, wire: bytes, now: Nanos) -> Step:
        """Take an answer, or ignore it: junk before the real one must not matter."""
        pending = self.table.by_ask(ask)
        if pending is None:
            return Step(self.stragglers.answered(ask, wire, now))
        one = pending.tries[ask]
        response = read_for(wire, one)
        if response is None:
            return self._junk(pending, one, now)
        if response.tc and one.ask.transport is Transport.UDP:
            # Nothing of the cut copy is used.
            return Step(self._go_on_over(Transport.TCP, pending, one, now))
        if _chokes(response, one.ask):
            self._bare[one.ask.upstream] = Nanos(now + _BARE_FOR)
            return Step(self._go_on_over(one.ask.transport, pending, one, now))
        if response.tc or response.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
            return self._broken(pending, one, _why(response), now)
        try:
            facts = read_facts(response, pending.name, pending.qtype, pending.key.do, now)
        except WireError:
            return self._broken(pending, one, Ede.INVALID_DATA, now)
        self.upstreams.worked(one.ask.upstream, one.since, now)
        for index in pending.broken:
            self.upstreams.outdone(index, now)
        self.table.drop(pending, ask)
        late = self.stragglers.take(pending)
        for other in late:
            self.table.drop(pending, other)
        step = self.abandon(pending)
        step.effects.insert(0, Forget(ask))
        assert step.done is not None
        # AD is the upstream's word: worth what the way to it is worth (RFC 4035, section 4.9.3).
        step.done.facts = facts._replace(ad=facts.ad and one.ask.upstream in self.trusted)
        return step

    def on_failed(self, ask: AskId, why: str, now: Nanos) -> Step:
        """The way to an upstream is broken: ICMP, a reset, no route."""
        pending = self.table.by_ask(ask)
        if pending is None:
            return Step(self.stragglers.failed(ask, why, now))
        one = pending.tries[ask]
        note = self._blame(pending, one, why, now)
        step = self._broken(pending, one, Ede.NETWORK_ERROR, now)
        step.effects += note
        return step

    def on_deadline(self, now: Nanos) -> Iterator[Step]:
        """Give up on those that waited long enough, ask the next upstream for the others."""
        if late_ones := self.stragglers.on_deadline(now):
            yield Step(late_ones)
        for pending in self.table.due(now):
            late = pending.late(now)
            if now >= pending.until or not (pending.waiters or pending.closing):
                step = self.abandon(pending)
                assert step.done is not None
                step.done.waiters += late
                yield step
                continue
            step = Step(done=Done(pending, late) if late else None)
            if now >= pending.next_try:
                step.effects += self._go_on(pending, now)
            self.table.schedule(pending)
            yield step

    def next_wake(self) -> Nanos | None:
        """When `on_deadline` is wanted."""
        times = (self.table.next_wake(), self.stragglers.next_wake())
        return min((when for when in times if when is not None), default=None)

    # --- trying ---

    def _go_on(self, pending: Pending, now: Nanos) -> list[Effect]:
        """Its time has come: somebody is slow, or was silent for too long."""
        effects: list[Effect] = []
        for one in pending.tries.values():
            if not one.blamed and one.until <= now:
                one.blamed = True
                effects += self._blame(pending, one, "no answer in time", now)
        waiting = [one.until for one in pending.tries.values() if not one.blamed]
        if not waiting:
            pending.hedge_at = None
            return effects + self._try(pending, now)
        pending.next_try = min(waiting)
        if pending.hedge_at is not None and pending.hedge_at <= now:
            pending.hedge_at = None
            effects += self._hedge(pending, now)
        return effects

    def _try(self, pending: Pending, now: Nanos) -> list[Effect]:
        """Ask the next upstream; the first time, one beside it that is to be tried out."""
        upstream = self.upstreams.pick(pending.asked, pending.broken, now)
        if upstream is None:
            pending.next_try = pending.until  # those still open may yet answer
            return []
        first = not pending.asked
        effects = self._ask_next(pending, upstream, now)
        if first:
            self.upstreams.earn()
            probe = self.upstreams.probe(upstream, now)
            if probe is not None:
                effects += self._ask_next(pending, probe, now)
            else:
                self._hedge_later(pending, upstream, now)
        return effects

    def _hedge_later(self, pending: Pending, upstream: int, now: Nanos) -> None:
        """Where there is another upstream, it is asked when this one is late."""
        if len(self.upstreams) > 1:
            pending.hedge_at = Nanos(now + self.upstreams.hedge_after(upstream))
            pending.next_try = min(pending.next_try, pending.hedge_at)

    def _hedge(self, pending: Pending, now: Nanos) -> list[Effect]:
        first = next(iter(pending.tries.values()))
        self.upstreams.late(first.ask.upstream, first.since, now)
        upstream = self.upstreams.pick(pending.asked, pending.broken, now)
        if upstream is None or upstream in pending.asked:
            return []
        if not self.upstreams.may_hedge(first.ask.upstream):
            return []
        return self._ask_next(pending, upstream, now)

    def _ask_next(self, pending: Pending, upstream: int, now: Nanos) -> list[Effect]:
        stream = upstream in self.streams
        transport = Transport.TCP if stream else Transport.UDP
        patience = int(TRY_PATIENCE * 1.5 ** len(pending.asked))
        until = Nanos(now + max(patience, TCP_PATIENCE if stream else 0))
        pending.asked.append(upstream)
        effects = self._ask(pending, upstream, transport, now, until)
        pending.next_try = min(one.until for one in pending.tries.values() if not one.blamed)
        return effects

    def _ask(
        self, pending: Pending, upstream: int, transport: Transport, now: Nanos, until: Nanos
    ) -> list[Effect]:
        self._next_ask += 1
        self.asked += 1
        self.upstreams.asked(upstream)
        key = pending.key
        wire = write_query(
            self._ids.next(),
            pending.name,
            pending.qtype,
            do=key.do,
            cd=bool(key.flags & CD),
            ad=upstream in self.trusted,
            size=0 if self._is_bare(upstream, now) else MAX_UDP,
        )
        deadline = Nanos(now + CLIENT_PATIENCE)
        ask = Ask(AskId(self._next_ask), upstream, transport, wire, deadline)
        old = self.table.asked(pending, ask, now, until)
        return [*(Forget(one) for one in old), ask]

    def _go_on_over(
        self, transport: Transport, pending: Pending, one: Try, now: Nanos
    ) -> list[Effect]:
        """Ask the same upstream once more, in another way."""
        self.table.drop(pending, one.ask.ask)
        patience = TCP_PATIENCE if transport is Transport.TCP else TRY_PATIENCE
        until = pending.next_try = Nanos(now + patience)
        asked = self._ask(pending, one.ask.upstream, transport, now, until)
        self.table.schedule(pending)
        return [Forget(one.ask.ask), *asked]

    def _is_bare(self, upstream: int, now: Nanos) -> bool:
        if (until := self._bare.get(upstream)) is None:
            return False
        if now >= until:
            del self._bare[upstream]  # it may have been replaced: ask it as the others
        return now < until

    def _junk(self, pending: Pending, one: Try, now: Nanos) -> Step:
        self.junk += 1
        one.junk += 1
        if one.junk < MAX_JUNK or one.ask.transport is Transport.TCP:
            return Step()
        return Step(self._go_on_over(Transport.TCP, pending, one, now))

    def _broken(self, pending: Pending, one: Try, ede: Ede, now: Nanos) -> Step:
        """This upstream cannot: ask the next, or give up when there is none."""
        self.table.drop(pending, one.ask.ask)
        pending.broken.add(one.ask.upstream)
        if not one.ask.wire[_ARCOUNT]:
            self._bare.pop(one.ask.upstream, None)  # it is not for want of EDNS
        pending.ede = ede
        step = Step([Forget(one.ask.ask), *self._try(pending, now)])
        if pending.tries:
            self.table.schedule(pending)
            return step
        end = self.abandon(pending)
        return Step(step.effects + end.effects, end.done)

    def _blame(self, pending: Pending, one: Try, why: str, now: Nanos) -> Iterable[Effect]:
        return blame(self.upstreams, one, pending.key.role, pending.name, why, now)


def _chokes(response: Response, ask: Ask) -> bool:
    """It says that it does not understand, and an OPT record is all that may be new to it
    (RFC 6891, section 7). Who knows EDNS puts one into that answer too.
    """
    if response.rcode not in (Rcode.FORMERR, Rcode.NOTIMP) or response.edns is not None:
        return False
    return bool(ask.wire[_ARCOUNT])


def _why(response: Response) -> Ede:
    """The upstream's own Extended DNS Error where it is one we know, else 22."""
    for code, value in response.edns.options if response.edns else ():
        if code == _EDE_OPTION and len(value) >= 2:
            number = int.from_bytes(value[:2], "big")
            if number in Ede.__members__.values():
                return Ede(number)
    return Ede.NO_REACHABLE_AUTHORITY
