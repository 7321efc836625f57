"""Several processes that answer over UDP (`dns.workers`): the daemon, and workers beside it.

    client ──▶ socket of a worker ──▶ a copy answers it
                       │ none does: SOCK_SEQPACKET, in batches
                       ▼
               daemon: engine, as if it had read the datagram itself ──▶ reply, by the same socket
                       └──▶ what was asked a second time goes to that worker as a copy

All sockets are the daemon's, and stay open in it. So while a worker starts, or is dead, the
daemon reads its socket, and nothing that waits there is lost. TCP, queries that were taken
over, and every first ask are the daemon's alone.

Promise 2: `withdraw` returns when no worker will give what was copied before. Who does not
finish its batch in time is killed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import field
from typing import Any

from dnsfw.engine.cache import CacheKey
from dnsfw.engine.engine import Engine
from dnsfw.errors import DatapathError
from dnsfw.model import Nanos, RoleId, abi
from dnsfw.server.batch import peer_of
from dnsfw.server.clock import Now
from dnsfw.server.performer import Performer
from dnsfw.server.rate import Rates
from dnsfw.server.udp import BATCH, BEHIND, UdpListener
from dnsfw.server.udp_socket import source_of
from dnsfw.server.worker_link import Link
from dnsfw.server.worker_memory import Epoch
from dnsfw.server.worker_words import (
    FORGET,
    LONGEST_BODY,
    QUERIES,
    READY,
    TOLD,
    Handed,
    pack_copy,
    read_key,
    read_queries,
    read_told,
)
from dnsfw.values import dataclass

__all__ = ["Workers"]

_BATCH_PATIENCE = 0.1  # seconds; a batch takes less than a millisecond
_SILENT = 5.0  # seconds without a sign of life: it hangs
_LONGEST_PAUSE = 60.0  # seconds between two starts
_WELL = 10.0  # seconds of life after which the next start is at once again
_NONSENSE = (
    ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
_MOST_COUNT = 1 << 32  # that a worker can have counted between two reports


@dataclass(slots=True)
class _Seat:
    """What one worker has, and the next one in its place."""

    number: int
    listeners: Sequence[UdpListener]
    link: Link | None = None
    restarts: int = 0
    answered: int = 0  # by those before
    handed_on: int = 0
    began: float = 0.0
    pause: float = 0.0
    timer: asyncio.TimerHandle | None = None
    beats: int = -1
    beat_at: float = 0.0
    full: int = 0  # turns in a row that left something waiting
    allowance: int = 0
    flooded: set[int] = field(default_factory=set)  # its listeners that it is behind with
    behind: bool = False  # the daemon is, with what it hands on


class Workers:
    """All of one daemon's."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seats: Iterable[Sequence[UdpListener]],
        engine: Engine,
        performer: Performer,
        rates: Rates,
        now: Now,
        *,
        marks: bool,
    ) -> None:
        """`seats` are the listeners of each worker. `marks`: a role is what the mark says."""
        self.said: Callable[[str, str], None] = _nobody
        self._loop = loop
        self._engine = engine
        self._performer = performer
        self._rates = rates
        self._now = now
        self._marks = marks
        self._epoch = Epoch()
        self._seats = [_Seat(number, listeners) for number, listeners in enumerate(seats)]
        self._allow = rates.allow
        self._allowance = 0
        self._closed = False
        rates.allow = self._take_allowance
        performer.on_withdraw = self.withdraw

    def __len__(self) -> int:
        return len(self._seats)

    def start(self) -> None:
        """The listeners are read by the daemon until each worker says that it is ready."""
        for seat in self._seats:
            self._start(seat)

    def close(self) -> None:
        self._closed = True
        for seat in self._seats:
            if seat.timer is not None:
                seat.timer.cancel()
            if seat.link is not None:
                self._loop.remove_reader(seat.link.socket.fileno())
                seat.link.close()
                seat.link = None
        self._epoch.close()

    def rows(self) -> list[dict[str, Any]]:
        """For `status`."""
        return [
            {
                "pid": seat.link.pid if seat.link is not None else None,
                "state": _state(seat.link),
                "answered": seat.answered + (seat.link.page.answered if seat.link else 0),
                "handed_on": seat.handed_on + (seat.link.page.handed_on if seat.link else 0),
                "restarts": seat.restarts,
            }
            for seat in self._seats
        ]

    # promise 2

    def withdraw(self) -> None:
        """Returns when nothing that was copied until now is told any more."""
        if self._closed:
            return
        self._epoch.next()
        for seat in self._seats:
            if seat.link is not None and not seat.link.page.passed(_BATCH_PATIENCE):
                self._lose(seat, "it did not finish its batch when answers were withdrawn")

    def forget_neighbours(self) -> None:
        """The host's addresses may have changed."""
        for seat in self._seats:
            if seat.link is not None and not seat.link.send(FORGET):
                self._lose(seat, "it did not hear that addresses have changed")

    # life

    def look(self) -> None:
        """Once a second: who hangs is ended."""
        now = time.monotonic()
        for seat in self._seats:
            if seat.link is None:
                continue
            if (beats := seat.link.page.beats) != seat.beats:
                seat.beats, seat.beat_at = beats, now
            elif now - seat.beat_at > _SILENT:
                self._lose(seat, f"no sign of life for {_SILENT:.0f} s")

    def _start(self, seat: _Seat) -> None:
        if self._closed:
            return
        seat.began = seat.beat_at = time.monotonic()
        seat.beats = -1
        try:
            seat.link = Link(seat.listeners, self._epoch, marks=self._marks)
        except DatapathError as error:
            self.said("trouble", f"DNS worker {seat.number + 1}: {error}; its clients are "
                      "answered by the daemon itself")  # fmt: skip
            self._start_later(seat)
            return
        self._loop.add_reader(seat.link.socket.fileno(), self._hear, seat, seat.link)

    def _start_later(self, seat: _Seat) -> None:
        well = time.monotonic() - seat.began > _WELL
        seat.pause = 0.0 if well else min(max(2 * seat.pause, 0.1), _LONGEST_PAUSE)
        seat.timer = self._loop.call_later(seat.pause, self._start, seat)

    def _lose(self, seat: _Seat, why: str) -> None:
        """Its socket is read here from now on, until there is another one in its place."""
        link, seat.link = seat.link, None
        if link is None:
            return
        gone = link.kill()
        self._loop.remove_reader(link.socket.fileno())
        for listener in seat.listeners:
            listener.attend(self._loop)
        seat.flooded.clear()
        seat.allowance, seat.behind, seat.full = 0, False, 0
        self._limit(seat)
        seat.answered += link.page.answered
        seat.handed_on += link.page.handed_on
        seat.restarts += 1
        self._loop.call_soon(self._bury, seat, link)
        how = f"{why}; " if why else ""
        self.said("trouble", f"DNS worker {seat.number + 1} (pid {link.pid}) has ended: {how}"
                  f"{link.ended()}; its clients are answered by the daemon itself until "
                  "another one has started")  # fmt: skip
        if gone:
            self._start_later(seat)

    def _bury(self, seat: _Seat, link: Link) -> None:
        """What it handed on before it died is answered; later than in the middle of an effect."""
        with closing(link), suppress(*_NONSENSE):
            while (message := link.receive()):
                if message[:1] == QUERIES and not self._take_queries(seat, link, message):
                    break

    # what they say

    def _hear(self, seat: _Seat, link: Link) -> None:
        """As much as a listener reads in one turn."""
        heard = 0
        while heard < BATCH:
            message = link.receive()
            if message is None:
                seat.full = 0
                if seat.behind:
                    self._caught_up(seat)
                return
            if not message:
                self._lose(seat, "")
                return
            try:
                heard += self._take(seat, link, message)
            except _NONSENSE as error:
                self._lose(seat, f"it said what it never should ({error})")
                return
            if seat.link is not link:  # lost in a withdrawal that this led to
                return
        seat.full += 1
        if seat.full >= BEHIND:
            self._rates.behind()
            if not seat.behind:
                seat.behind = True
                self._limit(seat)

    def _take(self, seat: _Seat, link: Link, message: bytes) -> int:
        """How many queries that was."""
        kind = message[:1]
        if kind == QUERIES:
            return self._take_queries(seat, link, message)
        if kind == READY:
            link.serving = True
            for listener in seat.listeners:
                listener.lend()
        elif kind == TOLD:
            self._take_told(seat, read_told(message))
        else:
            raise ValueError("an unknown word")
        return 1

    def _take_queries(self, seat: _Seat, link: Link, message: bytes) -> int:
        rates = self._rates if self._rates.limiting else None
        copied: set[CacheKey] = set()
        count = 0
        for handed in read_queries(message):
            count += 1
            listener = seat.listeners[handed.listener]
            role = _hear_it(listener, handed, rates)
            if role is not None and link is seat.link:
                self._copy(link, role, handed.wire, copied)
        return count

    def _copy(self, link: Link, role: RoleId, wire: bytes, copied: set[CacheKey]) -> None:
        """To who was just asked again what is known already."""
        found = self._engine.copy(wire, role, self._now())
        if found is None:
            return
        key, ready = found
        if key not in copied and len(ready.template.parts.body) <= LONGEST_BODY:
            copied.add(key)
            link.send(pack_copy(self._epoch.number, key, ready))

    def _take_told(self, seat: _Seat, told: Mapping[str, Any]) -> None:
        if "renew" in told:
            key, until = read_key(told["renew"]), Nanos(int(told["until"]))
            effects = self._engine.renew(key, until, self._now())
            if effects:
                self._performer.perform(effects)
        if "allow" in told:
            seat.allowance = _count(told["allow"])
            self._tell_allowance()
        if "share" in told:
            number = range(len(seat.listeners))[told["share"]]
            (seat.flooded.add if told["on"] else seat.flooded.discard)(number)
            self._limit(seat)
        if "hits" in told:
            self._add(seat, told)

    def _add(self, seat: _Seat, told: Mapping[str, Any]) -> None:
        for role, count in told["hits"].items():
            self._engine.replies.hits[_role(role)] += _count(count)
        for role, count in told["dropped"].items():
            self._rates.dropped[_role(role)] += _count(count)
        first = seat.listeners[0]
        first.truncated += _count(told["truncated"])
        first.unsent += _count(told["unsent"])

    # floods

    def _limit(self, seat: _Seat) -> None:
        """The kernel limits each role on its sockets: because it is behind, or we are."""
        for number, listener in enumerate(seat.listeners):
            listener.limit(seat.behind or number in seat.flooded)

    def _caught_up(self, seat: _Seat) -> None:
        if self._rates.limiting:
            self._rates.caught_up()
            return
        seat.behind = False
        self._limit(seat)

    def _take_allowance(self, datagrams: int) -> None:
        self._allowance = datagrams
        self._tell_allowance()

    def _tell_allowance(self) -> None:
        """Each process can answer so many; a role may have that of every one."""
        self._allow(self._allowance + sum(seat.allowance for seat in self._seats))


def _hear_it(listener: UdpListener, handed: Handed, rates: Rates | None) -> RoleId | None:
    """As if it had been read here."""
    family = listener.endpoint.family
    source = source_of(family, handed.info) if listener.endpoint.wildcard else None
    peer = peer_of(family, handed.name)
    client = listener.hear(handed.wire, handed.mark, peer, source, rates)
    return None if client is None else client.role


def _count(told: object) -> int:
    """A number that can be one; ValueError."""
    if not isinstance(told, int) or not 0 <= told < _MOST_COUNT:
        raise ValueError("that is no count")
    return told


def _role(told: str) -> RoleId:
    """One that there can be: of each, counts are kept; ValueError."""
    if (role := int(told)) not in range(abi.Limit.MAX_ROLES):
        raise ValueError("that is no role")
    return RoleId(role)


def _state(link: Link | None) -> str:
    if link is None:
        return "ended"
    return "serving" if link.serving else "starting"


def _nobody(kind: str, text: str) -> None:
    """Who hears of troubles before there is a reporter."""

