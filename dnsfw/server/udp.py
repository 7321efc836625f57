"""Queries over UDP: one socket an address, read by a callback, drained in batches.

A wake-up of the loop costs more than a query, so each one reads up to BATCH
datagrams; a flood then waits in the socket's buffer and the kernel drops what
does not fit, instead of Python queueing it. Its replies go out together.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple, Protocol

from dnsfw.engine.effects import Client, Transport
from dnsfw.engine.replies import ID, LONGEST, Replies, Said
from dnsfw.errors import DatapathError
from dnsfw.model import NO_ROLE, RoleId
from dnsfw.server.address import Endpoint
from dnsfw.server.batch import OCTETS, Batch, Outbox, able, peer_of
from dnsfw.server.carrier import Together, each
from dnsfw.server.clock import Now, boot_now
from dnsfw.server.neighbours import Neighbours
from dnsfw.server.rate import Rates
from dnsfw.server.roles import EVERYBODY_IS_HOST, Askers
from dnsfw.server.udp_socket import ANCILLARY, Control, open_socket, read_control, waiting

__all__ = ["PassOn", "Slot", "UdpListener", "UdpRoute"]

BATCH = 64  # of a wake-up: the other sockets of the loop wait at most this many queries
BEHIND = 4  # whole batches in a row, and still more waits: somebody's queries cost the others
_DROPS = 8 * BATCH  # that a batch may throw away besides: each costs a tenth of an answer
_LONGEST_QUERY = 4096  # RFC 6891 §6.2.5: nobody needs a larger one; the rest is cut, and refused

_MSG_TRUNC = int(socket.MSG_TRUNC)  # the enum's own `&` costs more than reading the datagram
_KEPT = 768  # bytes of the kernel's that a small query takes in a queue
_LONG_QUEUE = 32 * BATCH * _KEPT  # what 2,000 small queries take, some 20 milliseconds

_UDP = Transport.UDP
_new = tuple.__new__  # of a named tuple, without the call in between

_NOTHING: dict[bytes, Said] = {}
OnQuery = Callable[[bytes, Client], object]
_Held = tuple[bytes, Any, Control | None]
Slot = tuple[int, int, RoleId]  # of a batch, with the length and the sender's role
PassOn = Callable[["UdpListener", Batch, Iterable[Slot]], None]


def _nobody(wire: bytes, client: Client) -> None:
    """Who hears queries before `start`."""


def _alone(on: bool) -> None:
    """Without a kernel's help."""


class Loop(Protocol):
    """What a listener wants of an event loop; a worker's is smaller than asyncio's."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object: ...

    def remove_reader(self, fd: int, /) -> object: ...

    def call_soon(self, callback: Callable[[], object], /) -> object: ...


class UdpRoute(NamedTuple):
    """The way back of one query: to whom, and the address it asked where we listen on many."""

    listener: UdpListener
    to: Any  # a sockaddr as the kernel wrote it, where it came in a batch
    source: Control | None

    @property
    def peer(self) -> Any:
        """As the socket module has it."""
        to, listener = self.to, self.listener
        return peer_of(listener.endpoint.family, to) if isinstance(to, bytes) else to

    def send(self, wire: bytes) -> None:
        self.listener.send(wire, self.to, self.source)


class UdpListener:
    """One bound UDP socket. Counters say what was lost, and why."""

    def __init__(
        self, endpoint: Endpoint, bound: socket.socket | None = None, *, prepared: bool = False
    ) -> None:
        """Bind `endpoint`, or take a socket that is bound to it already (a door in another
        namespace); `prepared`: it has its options too. ConfigError when it is taken, forbidden
        or not of this host.
        """
        self.endpoint = endpoint
        self.askers: Askers = EVERYBODY_IS_HOST
        self.rates: Rates | None = None
        self.share: Callable[[bool], None] = _alone  # the kernel limits each role, or no more
        self.truncated = 0  # queries longer than anybody needs
        self.unsent = 0  # replies that the kernel would not take: full buffer, no route
        self.on_query: OnQuery = _nobody
        self.pass_on: PassOn | None = None  # what `replies` do not have goes there, as it came
        self.replies = Replies(0)  # what the engine keeps for questions that are repeated
        self.now: Now = boot_now
        self.neighbours: Neighbours | None = None  # where strangers can reach it
        self.together: Together = each  # what is heard in it is acted upon at its end
        self.at_end: Callable[[Callable[[], None]], bool] = lambda act: False  # nothing is
        self._wildcard = endpoint.wildcard  # what every wake-up asks for stands ready
        self._batch = _batch(endpoint.family, endpoint.wildcard)
        self._loop: Loop | None = None
        self._attending = False
        self._buffer = bytearray(_LONGEST_QUERY)
        self._view = memoryview(self._buffer)
        self._held: list[_Held] | None = None  # replies to the batch that is being read
        self._later: list[_Held] = []  # replies to queries of other batches
        self._full = 0  # batches in a row that left something waiting
        self._sharing = False
        self.socket = bound if prepared and bound is not None else open_socket(endpoint, bound)
        self._fd = self.socket.fileno()

    async def start(self, loop: Loop, on_query: OnQuery) -> None:
        self.on_query = on_query
        self.attend(loop)

    def attend(self, loop: Loop) -> None:
        """Read it, from now on."""
        self._loop = loop
        if not self._attending:
            self._attending = True
            loop.add_reader(self._fd, self._drain)

    def lend(self) -> None:
        """Another process reads it; replies go out here as before."""
        if self._loop is not None and self._attending:
            self._attending = False
            self._loop.remove_reader(self._fd)

    def close(self) -> None:
        if self._loop is not None:
            self.lend()
            self._loop = None
            self._flush()
        self._fd = -1  # the number may be somebody else's soon
        self.socket.close()

    def send(self, wire: bytes, to: Any, source: Control | None) -> None:
        """Send with the rest of its batch, or with all that this turn of the loop leads to."""
        if self._held is not None:
            self._held.append((wire, to, source))
        elif self._loop is None:
            self._send_all([(wire, to, source)])
        else:
            if not self._later and not self.at_end(self._flush):
                self._loop.call_soon(self._flush)
            self._later.append((wire, to, source))

    def _flush(self) -> None:
        later, self._later = self._later, []
        self._send_all(later)

    def _send_all(self, replies: list[_Held]) -> None:
        """Now or never: a client that is not there asks again (it is UDP)."""
        raw = [reply for reply in replies if isinstance(reply[1], bytes)]
        if raw:
            self.unsent += _outbox().send(self._fd, raw)
        if len(raw) == len(replies):
            return
        for wire, peer, source in replies:
            if isinstance(peer, bytes):
                continue
            try:
                self.socket.sendmsg([wire], [source] if source else [], 0, peer)
            except OSError:
                self.unsent += 1

    def _drain(self) -> None:
        """Read a batch, then send its replies: to wake a client on another core costs more
        than a query does, and one that is awake needs no waking.
        """
        held = self._held = []
        try:
            self._read_batches()
        finally:
            self._held = None
            if held:
                self._send_all(held)

    def _read_batches(self) -> None:
        """One batch; while askers are limited more of them, for most is thrown away."""
        rates = self.rates if self.rates is not None and self.rates.limiting else None
        if self._sharing and rates is None:
            self._share(False)
        read = self._read_one_by_one if self._batch is None else self._read_batch
        heard = 0
        for _ in range(1 if rates is None else 1 + _DROPS // BATCH):
            heard_now, more = read(rates)
            heard += heard_now
            if not more:
                self._full = 0
                if rates is not None and self._sharing:
                    rates.caught_up()
                return
            if heard >= BATCH:
                break
        self._full += 1
        if self.rates is None:
            return
        queue = waiting(self.socket)
        if rates is not None or queue > _LONG_QUEUE or (self._full >= BEHIND and self._crowded()):
            self.rates.behind(queue // _KEPT)
            if not self._sharing:
                self._share(True)

    def _read_batch(self, rates: Rates | None) -> tuple[int, bool]:
        """Answer what was answered before, then hand on the rest. How many had their turn,
        and whether more may wait.
        """
        batch = self._batch
        assert batch is not None
        count = batch.receive(self._fd)
        if not count:
            return 0, False
        if (odd := batch.odd) or not self._all_near(batch) or not self._all_admitted(batch, rates):
            rest = self._checked(batch, rates)
            heard = len(rest)
            if not odd:
                rest = self._answer_admitted(batch, rest)
        else:
            rest = self._answer_again(batch)
            heard = count
        if rest:
            self._hand_on(batch, rest)
        return heard, count == batch.slots

    def _answer_again(self, batch: Batch) -> list[Slot]:
        """The hot path: the reply to a query that is repeated to the octet lies ready. What is
        left (slot, length, role) has to be looked into.
        """
        replies, now, heads, out = self.replies, self.now(), batch.heads, batch.out
        rest: list[Slot] = []
        role, role_mark, known = NO_ROLE, -1, _NOTHING.get
        by_mark, moved = self.askers.by_mark, self._wildcard
        at = sent = hits = to = 0
        for slot, (mark, length) in enumerate(zip(batch.marks, batch.lengths, strict=True)):
            if mark != role_mark:
                if hits:
                    replies.hits[role] += hits
                hits, role_mark, role = 0, mark, by_mark(mark)
                known = replies.of(role).get
            said = known(heads[at : at + length - ID])
            if said is not None and now < said[0]:
                if moved:
                    batch.aim(sent, slot)
                tail = said[1]
                out[to + 2] = id(tail) + OCTETS
                out[to + 3] = len(tail)
                to += 4
                sent += 1
                hits += 1
            else:
                rest.append((slot, length, role))
                moved = True
            at += LONGEST
        if sent:
            replies.hits[role] += hits
            self.unsent += batch.send(self._fd, sent)
        return rest

    def _answer_admitted(self, batch: Batch, admitted: Iterable[Slot]) -> list[Slot]:
        """The same for those of a batch who may ask, one by one."""
        replies, now, heads, out = self.replies, self.now(), batch.heads, batch.out
        rest: list[Slot] = []
        sent = 0
        for slot, length, role in admitted:
            at = LONGEST * slot
            said = replies.of(role).get(heads[at : at + length - ID])
            if said is None or now >= said.until:
                rest.append((slot, length, role))
                continue
            batch.aim(sent, slot)
            out[4 * sent + 2], out[4 * sent + 3] = id(said.tail) + OCTETS, len(said.tail)
            sent += 1
            replies.hits[role] += 1
        if sent:
            self.unsent += batch.send(self._fd, sent)
        return rest

    def _checked(self, batch: Batch, rates: Rates | None) -> list[Slot]:
        """The same for a batch of which nothing may be taken for granted."""
        near, odd = self.neighbours, batch.odd
        if rates is not None and near is None and not odd and len(batch.senders) == 1:
            lengths, by_mark = batch.lengths, self.askers.by_mark
            may = rates.admits_each(batch.marks, by_mark, batch.peer(0)[0])
            return [(slot, lengths[slot], role) for slot, role in may]
        rest: list[Slot] = []
        for slot, length in enumerate(batch.lengths):
            if batch.cut(slot):
                self.truncated += 1
                continue
            mark, _ = read_control(batch.control(slot))
            role = self.askers.by_mark(mark)
            if near is not None:
                role = near.role(role, batch.peer(slot)[0])
            if rates is None or rates.admits(role, batch.peer(slot)[0]):
                rest.append((slot, length, role))
        return rest

    def _all_admitted(self, batch: Batch, rates: Rates | None) -> bool:
        """Whether one asker sent all of it and has his part for it: no need to look at each."""
        if rates is None:
            return True
        if len(batch.senders) > 1 or len(marks := set(batch.marks)) > 1:
            return False
        return rates.takes(self.askers.by_mark(marks.pop()), batch.peer(0)[0], batch.count)

    def _all_near(self, batch: Batch) -> bool:
        """Whether everybody in it has been let in before; who has not is looked at one by one."""
        near = self.neighbours
        if near is None:
            return True
        if self.endpoint.family != socket.AF_INET:
            return False  # the numbers of IPv6 senders are no proof
        senders = batch.senders
        if not senders <= near.near and all(
            near.is_near(batch.peer(slot)[0]) for slot in range(batch.count)
        ):
            near.near |= senders
        return senders <= near.near

    def _hand_on(self, batch: Batch, rest: Iterable[Slot]) -> None:
        if self.pass_on is not None:
            self.pass_on(self, batch, rest)
        else:
            self.together(lambda: self._hear_all(batch, rest))

    def _hear_all(self, batch: Batch, rest: Iterable[Slot]) -> None:
        on_query, source = self.on_query, None
        for slot, length, role in rest:
            if self._wildcard:
                source = read_control(batch.control(slot))[1]
            route = _new(UdpRoute, (self, batch.name(slot), source))
            client = _new(Client, (route, role, _UDP, batch.address(slot)))
            on_query(batch.wire(slot, length), client)

    def _read_one_by_one(self, rates: Rates | None) -> tuple[int, bool]:
        """The same where the batch calls are not to be had."""
        heard = 0
        for _ in range(BATCH):
            try:
                size, control, flags, peer = self.socket.recvmsg_into([self._buffer], ANCILLARY)
            except OSError:  # EAGAIN: the buffer is empty
                return heard, False
            if flags & _MSG_TRUNC:
                self.truncated += 1
                continue
            mark, source = read_control(control)
            heard += self.hear(bytes(self._view[:size]), mark, peer, source, rates) is not None
        return heard, True

    def hear(
        self, wire: bytes, mark: int, peer: Any, source: Control | None, rates: Rates | None
    ) -> Client | None:
        """One datagram that came here. Who asks; None if he may not now."""
        role = self.askers.by_mark(mark)
        if self.neighbours is not None:
            role = self.neighbours.role(role, peer[0])
        if rates is not None and not rates.admits(role, peer[0]):
            return None
        client = Client(UdpRoute(self, peer, source), role, Transport.UDP, peer[0])
        self.on_query(wire, client)
        return client

    def _crowded(self) -> bool:
        """Whether to be behind a little costs another asker: who is alone waits for himself."""
        got = self._batch
        return got is None or got.odd or len(set(got.marks)) > 1 or len(got.senders) > 1

    def limit(self, on: bool) -> None:
        """What `share` says, for who reads it elsewhere."""
        if on is not self._sharing:
            self._share(on)

    def _share(self, on: bool) -> None:
        self._sharing = on
        with contextlib.suppress(DatapathError):  # then what is too much is dropped here alone
            self.share(on)


@cache
def _outbox() -> Outbox:
    """One for all sockets, likewise."""
    return Outbox(BATCH)


@cache
def _batch(family: int, wildcard: bool) -> Batch | None:
    """The buffers of every socket of a kind: a batch is over before another one begins."""
    return Batch(family, wildcard, BATCH, _LONGEST_QUERY) if able() else None
