"""Queries over TCP (RFC 7766): pipelined, answered in any order, and bounded in every way.

Who holds a connection without asking anything is the first to lose it: when the
table is full a new client always gets in, and the idlest one goes.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import cast

from dnsfw.datapath.askers import socket_cookie
from dnsfw.engine.effects import Client, Transport
from dnsfw.errors import WireError
from dnsfw.model import NO_ROLE, RoleId
from dnsfw.server.address import Endpoint
from dnsfw.server.binding import bind
from dnsfw.server.neighbours import Neighbours
from dnsfw.server.rate import Rates
from dnsfw.server.roles import EVERYBODY_IS_HOST, Askers
from dnsfw.server.udp_socket import Own, nobodys
from dnsfw.values import dataclass
from dnsfw.wire.stream import Frames, frame

__all__ = ["TcpLimits", "TcpListener"]

BATCH = 64  # queries of one client before the others have their turn
BEHIND = 4 * BATCH  # of all clients in one turn of the loop: somebody's cost the others
_PAUSE = 0.02  # seconds that a client without tokens waits
_BACKLOG = 128
_HEADER = 12  # octets of a DNS header
_QR = 0x80  # in its third octet: this is an answer

OnQuery = Callable[[bytes, Client], object]


def _nobody(wire: bytes, client: Client) -> None:
    """Who hears queries before `start`."""


@dataclass(frozen=True, slots=True)
class TcpLimits:
    """What one client, and all of them, may hold. Seconds, connections, messages, bytes."""

    idle: float = 10.0  # without a whole message in or a reply out (RFC 7766 §6.2.3: seconds)
    total: float = 300.0  # of one connection
    connections: int = 512
    per_client: int = 128  # of one address: on a host everybody is 127.0.0.1
    outstanding: int = 256  # asked on one connection and not answered: then it is not read
    unsent: int = 1 << 20  # reply bytes the client does not take: 16 of the largest


class TcpListener:
    """One listening socket and its connections."""

    def __init__(
        self,
        endpoint: Endpoint,
        limits: TcpLimits = TcpLimits(),
        bound: socket.socket | None = None,
        own: Own = nobodys,
    ) -> None:
        """Bind and listen, or listen on a socket that is bound already (a door in another
        namespace). ConfigError when the address is taken, forbidden or not ours. `own` as of
        `open_socket`.
        """
        self.endpoint = endpoint
        self.limits = limits
        self.askers: Askers = EVERYBODY_IS_HOST
        self.rates: Rates | None = None
        self.neighbours: Neighbours | None = None  # where strangers can reach it
        self.evicted = 0  # connections that had to go for another
        self.on_query: OnQuery = _nobody
        self.connections: set[TcpConnection] = set()
        self.socket = _open(endpoint, bound, own)
        self._turn = 0  # queries since the loop last looked at its sockets
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, loop: asyncio.AbstractEventLoop, on_query: OnQuery) -> None:
        self.on_query = on_query
        self._server = await loop.create_server(
            lambda: TcpConnection(self, loop), sock=self.socket, backlog=_BACKLOG
        )
        self._sweep(loop)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        self.socket.close()
        for connection in tuple(self.connections):
            connection.end()

    def admit(self, new: TcpConnection) -> None:
        """Let `new` in, and the idlest out where that is one too many.

        Everybody on this host is 127.0.0.1: a client counts with those of its role, once it
        has asked and shown whose it is, and before that with those who have not.
        """
        self.connections.add(new)
        same = [c for c in self.connections if c.who == new.who]
        crowd = same if len(same) > self.limits.per_client else self.connections
        if crowd is same or len(crowd) > self.limits.connections:
            self.evicted += 1
            min((c for c in crowd if c is not new), key=lambda c: c.worth).end()

    def may_ask(self, client: TcpConnection, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is this client's turn: not if others wait and it has asked its share."""
        if self._turn == 0:
            loop.call_soon(self._next_turn)
        self._turn += 1
        if (rates := self.rates) is None:
            return True
        if self._turn >= BEHIND:
            rates.behind()
        return not rates.limiting or rates.takes(*client.who)

    def _next_turn(self) -> None:
        self._turn = 0

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in tuple(self.connections):
            if connection.overdue(now):
                connection.end()
        period = min(1.0, self.limits.idle / 4)
        self._sweeper = loop.call_later(period, self._sweep, loop)


_NOBODY = Client(None, NO_ROLE, Transport.TCP)


class TcpConnection(asyncio.Protocol):
    """One client; also the route of its queries' replies."""

    def __init__(self, listener: TcpListener, loop: asyncio.AbstractEventLoop) -> None:
        self._cookie = 0
        self._listener = listener
        self._loop = loop
        self._frames = Frames()
        self._client = _NOBODY
        self._transport: asyncio.Transport | None = None
        self._began = self._active = loop.time()
        self._asked = 0
        self._answered = 0
        self._waiting: deque[bytes] = deque()  # whole messages that had to wait
        self._asking = False  # the engine may answer while it is being asked
        self._choked = False  # the client does not read its replies
        self._no_more = False  # the client closed its side

    @property
    def who(self) -> tuple[RoleId, str]:
        """Whose it is, as far as it has shown that, and its address."""
        return self._client.role, self._client.address

    @property
    def peer(self) -> object:
        """Address and port of the other side, while there is one."""
        return None if self._transport is None else self._transport.get_extra_info("peername")

    @property
    def listener(self) -> TcpListener:
        """Where it came in."""
        return self._listener

    @property
    def worth(self) -> tuple[bool, float]:
        """Who to keep: a client that has asked something, lately."""
        return self._asked > 0, self._active

    def overdue(self, now: float) -> bool:
        limits = self._listener.limits
        return now - self._active > limits.idle or now - self._began > limits.total

    def send(self, wire: bytes) -> None:
        """Queue one reply; a client that does not read its replies is cut off."""
        if self._transport is None:
            return
        self._answered += 1
        self._active = self._loop.time()
        self._transport.write(frame(wire))
        if self._transport.get_write_buffer_size() > self._listener.limits.unsent:
            self.end()
        else:
            self._ask_waiting()

    def end(self) -> None:
        """Close at once: what is unsent is lost, the client asks again."""
        transport, self._transport = self._transport, None
        self._listener.connections.discard(self)
        self._waiting.clear()
        if transport is not None:
            transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports have the methods, not the base class.
        self._transport = transport = cast(asyncio.Transport, transport)
        peer = (transport.get_extra_info("peername") or ("",))[0]
        self._cookie = socket_cookie(transport.get_extra_info("socket").fileno())
        self._client = Client(self, NO_ROLE, Transport.TCP, peer)
        self._listener.admit(self)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._frames.feed(data)
        except WireError:
            self.end()
            return
        if messages:
            self._active = self._loop.time()
            self._waiting += messages
            self._look_who_asks()
            self._ask_waiting()

    def eof_received(self) -> bool:
        """RFC 7766 §6.2.4: a half-closed client still gets the answers it asked for."""
        self._no_more = True
        return self._asked > self._answered

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._client = _NOBODY  # it holds us: a circle would wait for the rare full collection
        self._waiting.clear()
        self._listener.connections.discard(self)

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        self._ask_waiting()

    # inside

    def _look_who_asks(self) -> None:
        """Only with its data does a client show its role: the handshake was the listener's."""
        role = self._listener.askers.by_connection(self._cookie)
        if (near := self._listener.neighbours) is not None:
            role = near.role(role, self._client.address)
        if role != self._client.role:
            self._client = Client(self, role, Transport.TCP, self._client.address)
            self._listener.admit(self)

    def _ask_waiting(self) -> None:
        """Hand queries to the engine, as many as one client may have; read on when none waits."""
        if self._asking:
            return
        self._asking = True
        for _ in range(BATCH):
            if not self._may_ask():
                break
            if not self._listener.may_ask(self, self._loop):
                self._loop.call_later(_PAUSE, self._ask_waiting)
                break
            self._ask(self._waiting.popleft())
        else:
            self._loop.call_soon(self._ask_waiting)  # the other clients first
        self._asking = False
        self._flow_control()

    def _may_ask(self) -> bool:
        outstanding = self._asked - self._answered
        room = outstanding < self._listener.limits.outstanding and not self._choked
        return room and bool(self._waiting) and self._transport is not None

    def _ask(self, wire: bytes) -> None:
        if len(wire) < _HEADER or wire[2] & _QR:
            self.end()  # never a client's: an answer to it could make two servers talk
            return
        self._asked += 1
        self._listener.on_query(wire, self._client)

    def _flow_control(self) -> None:
        if self._transport is None:
            return
        if self._waiting:
            self._transport.pause_reading()
        elif not self._no_more:
            self._transport.resume_reading()
        elif self._asked == self._answered:
            self._transport.close()  # sends what is queued first


def _open(endpoint: Endpoint, bound: socket.socket | None, own: Own) -> socket.socket:
    sock = bound or socket.socket(endpoint.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if bound is None:
            own(sock.fileno())
            _bind(sock, endpoint)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, endpoint: Endpoint) -> None:
    # Only past TIME_WAIT of our own last run: Linux still refuses a second listener.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if endpoint.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    bind(sock, endpoint, "tcp")
