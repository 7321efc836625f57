"""The two ways of a download's connection: the daemon's, past its own wall, and a program's."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import TimeoutError as TookTooLong
from ipaddress import IPv4Address, IPv6Address

from dnsfw.errors import DatapathError
from dnsfw.server.connecting import connect
from dnsfw.server.fetch import FetchError
from dnsfw.server.fetch_names import Names
from dnsfw.server.upstream import Own

__all__ = ["AnyWay", "OwnWay"]

_EACH = 4.0  # seconds for one of several addresses
_MORE = 15.0  # ... for names and all of them, before a thread gives up on the loop


class AnyWay:
    """As any program connects: for a command, under whatever guards the host."""

    def connect(self, host: str, port: int, patience: float) -> socket.socket:
        try:
            return socket.create_connection((host, port), patience)
        except socket.gaierror as error:
            raise FetchError(f"{host}: {error.strerror}") from None


class OwnWay:
    """On the daemon's loop, where its rights are: names from its own upstreams, and every
    socket marked as its own before it connects. The thread that asks has no rights at all.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, names: Names, own: Own) -> None:
        self._loop = loop
        self._names = names
        self._own = own

    def connect(self, host: str, port: int, patience: float) -> socket.socket:
        """Called in a thread, which waits."""
        doing = asyncio.run_coroutine_threadsafe(self._connect(host, port, patience), self._loop)
        try:
            return doing.result(patience + _MORE)
        except TookTooLong:
            doing.cancel()
            raise TimeoutError from None

    async def _connect(self, host: str, port: int, patience: float) -> socket.socket:
        addresses = await self._names.find(host)
        each = min(_EACH, patience) if len(addresses) > 1 else patience
        last: OSError = OSError(0, "no address")
        for address in addresses:
            try:
                return await self._try(address, port, each)
            except OSError as error:
                last = error
            except DatapathError as error:
                raise FetchError(str(error)) from None
        raise last

    async def _try(
        self, address: IPv4Address | IPv6Address, port: int, patience: float
    ) -> socket.socket:
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._own(sock.fileno())
            async with asyncio.timeout(patience):
                await connect(self._loop, sock, (str(address), port))
            sock.setblocking(True)
        except BaseException:
            sock.close()
            raise
        return sock
