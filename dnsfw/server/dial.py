"""A connection to an upstream: marked, connected, and (encrypted) proven to be whom we want."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dnsfw.policy.upstream import Upstream
from dnsfw.server.address import Endpoint
from dnsfw.server.carrier import Own, Ways, fresh
from dnsfw.server.connecting import connect
from dnsfw.server.tls import Context

__all__ = ["Dialer", "Where"]

# Seconds. A handshake takes two or three round trips; a client waits 4.5 s in all.
_CONNECT = 1.5
_HANDSHAKE = 2.5
_ANOTHER = 0.5  # with other addresses to try, one is not waited for so long
_USER_TIMEOUT = 18  # tcp(7): unacknowledged for so many milliseconds means broken
_BROKEN = 3000

Where = Callable[[], Awaitable[tuple[Endpoint, ...]]]
Link = TypeVar("Link", bound=asyncio.Protocol)


class Dialer:
    """Opens connections to one upstream, at the address that worked last."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        upstream: Upstream,
        where: Where,
        own: Own,
        ways: Ways,
        context: Context | None = None,
    ) -> None:
        """An encrypted upstream must have a context to be proven by."""
        assert (context is not None) is upstream.encrypted
        self.context = context
        self._loop = loop
        self._upstream = upstream
        self._where = where
        self._own = own
        self._ways = ways
        self._good: Endpoint | None = None

    async def dial(self, link: Callable[[], Link]) -> Link:
        """OSError, ssl.SSLError, TimeoutError, DatapathError: there is no connection."""
        places = await self._where()
        if self._good in places:
            places = (self._good, *(place for place in places if place != self._good))
        for place in places[:-1]:
            try:
                return await self._one(place, link, _ANOTHER)
            except OSError:  # SSLError and TimeoutError are
                continue
        return await self._one(places[-1], link, _CONNECT)

    async def _one(self, place: Endpoint, link: Callable[[], Link], patience: float) -> Link:
        sock = fresh(socket.SOCK_STREAM, place, self._own)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, _BROKEN)
            async with asyncio.timeout(patience):
                await connect(self._loop, sock, place.sockaddr)
            return await self._speak(sock, place, link)
        except BaseException:
            sock.close()
            raise

    async def _speak(self, sock: socket.socket, place: Endpoint, link: Callable[[], Link]) -> Link:
        context = self.context
        if context is None:
            _, plain = await self._loop.create_connection(link, sock=sock)
            self._good = place
            return plain
        transport, made = await self._loop.create_connection(
            link,
            sock=sock,
            ssl=context,
            server_hostname=self._upstream.name,
            ssl_handshake_timeout=_HANDSHAKE,
            ssl_shutdown_timeout=1.0,
        )
        try:
            tls = transport.get_extra_info("ssl_object")
            context.check(tls)
        except BaseException:
            transport.abort()
            raise
        self._ways.resumed += bool(tls.session_reused)
        self._good = place
        return made
