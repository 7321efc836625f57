"""Addresses of hosts that dnsfw itself fetches from: asked of its own upstreams, on its own
sockets. No role's policy has a say, nothing opens for anybody, and no stub of the host's (which
may be dnsfw itself) is asked.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from dnsfw.engine.effects import Ask, AskId, Transport
from dnsfw.engine.facts import read_facts
from dnsfw.errors import WireError
from dnsfw.model import SECOND, Name, Nanos
from dnsfw.policy.upstream import Upstream
from dnsfw.server.clock import Now
from dnsfw.server.fetch import FetchError
from dnsfw.server.upstream import Own, Upstreams
from dnsfw.wire.message import AAAA, A, Rcode, Response, echoes, read_response
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query

__all__ = ["Names"]

_PATIENCE = 3.0  # seconds for one upstream and one transport
_MOST = 8  # addresses of a host that are worth trying

Address = IPv4Address | IPv6Address


class Names:
    """Looks a host up; each upstream in its order, until one knows."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        upstreams: Sequence[Upstream],
        own: Own,
        now: Now,
    ) -> None:
        self._loop = loop
        self._upstreams = upstreams
        self._own = own
        self._now = now

    async def find(self, host: str) -> list[Address]:
        """Its addresses, IPv6 and IPv4 by turns. FetchError where nobody knows any."""
        try:
            return [ip_address(host)]
        except ValueError:
            name = from_text(host)
        asking = _Asking(self._loop, self._upstreams, self._own, self._now)
        try:
            six, four = await asyncio.gather(asking.find(name, AAAA), asking.find(name, A))
        finally:
            asking.close()
        found: list[Address] = []
        for turn in range(_MOST):
            found += [ip_address(some[turn]) for some in (six, four) if turn < len(some)]
        if not found:
            raise FetchError(f"no upstream knows an address of {host}")
        return found[:_MOST]


class _Asking:
    """The questions about one host. Ears of upstream.Upstreams."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        upstreams: Sequence[Upstream],
        own: Own,
        now: Now,
    ) -> None:
        self._loop = loop
        self._now = now
        self._asks = Upstreams(loop, upstreams, own, self)
        self._waiting: dict[AskId, tuple[bytes, asyncio.Future[Response | None]]] = {}

    def close(self) -> None:
        self._asks.close()

    async def find(self, name: Name, qtype: int) -> list[bytes]:
        """What the first upstream that knows says; none where it says that there is none."""
        for upstream in range(len(self._asks.targets)):
            for transport in (Transport.UDP, Transport.TCP):
                said = await self._ask(upstream, transport, name, qtype)
                if said is not None and said.tc:
                    continue
                if said is None or said.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
                    break
                try:
                    facts = read_facts(said, name, qtype, False, self._now())
                except WireError:
                    break
                return [record.rdata for record in facts.records]
        return []

    async def _ask(
        self, upstream: int, transport: Transport, name: Name, qtype: int
    ) -> Response | None:
        number = AskId(len(self._waiting))
        wire = write_query(secrets.randbits(16), name, qtype)
        future: asyncio.Future[Response | None] = self._loop.create_future()
        self._waiting[number] = wire, future
        deadline = Nanos(self._now() + int(_PATIENCE * SECOND))
        self._asks.ask(Ask(number, upstream, transport, wire, deadline))
        try:
            async with asyncio.timeout(_PATIENCE):
                return await future
        except TimeoutError:
            return None
        finally:
            self._asks.forget(number)

    # upstream.Ears

    def answer(self, ask: AskId, wire: bytes) -> None:
        asked, future = self._waiting[ask]
        if not future.done() and echoes(wire, asked):
            try:
                future.set_result(read_response(wire))
            except WireError:
                return  # junk, or a forger's: the real one may still come

    def ask_failed(self, ask: AskId, why: str) -> None:
        _, future = self._waiting[ask]
        if not future.done():
            future.set_result(None)
