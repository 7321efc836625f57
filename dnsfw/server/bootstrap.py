"""Where an upstream that has only a name is: asked of other upstreams, never of this host.

The host's stub may be dnsfw itself, and then nobody would ever answer. What comes back
is not secret and need not be true: a server at a forged address cannot prove the name.
A known address is used until a better one is there: an outage of the helpers is none of ours.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from itertools import count

from dnsfw.engine.effects import Ask, AskId, Transport
from dnsfw.engine.facts import read_facts
from dnsfw.errors import DatapathError, WireError
from dnsfw.model import SECOND, Addr, Nanos, addr_text
from dnsfw.policy.upstream import Address, Upstream
from dnsfw.server.address import Endpoint, endpoints
from dnsfw.server.carrier import Carrier, Ears
from dnsfw.values import dataclass
from dnsfw.wire import rdata
from dnsfw.wire.codes import AAAA, A
from dnsfw.wire.message import echoes, read_response
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query

__all__ = ["Bootstrap", "Ways"]

_PATIENCE = 1.2  # seconds for one helper; a client waits 4.5 s in all
_SHORTEST, _LONGEST = 60.0, 86_400.0  # seconds that an address is used before it is asked again
_AGAIN = 5.0  # after a failure

Ways = Mapping[Transport, Carrier]


class NoPlace(DatapathError):
    """Nobody says where an upstream is."""


@dataclass(slots=True)
class _Known:
    places: tuple[Address, ...] = ()
    until: float = 0.0  # the loop's time
    task: asyncio.Task[None] | None = None


class Bootstrap:
    """Finds upstreams by name; the ears of its helpers."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        helpers: Sequence[Upstream],
        ways: Callable[[Upstream, Ears], Ways],
    ) -> None:
        self.asked = 0
        self._loop = loop
        self._helpers = tuple(helpers)
        self._make = ways
        self._ways: dict[Upstream, Ways] = {}  # made when they are first needed
        self._known: dict[str, _Known] = {}
        self._numbers = count(1)
        self._heard: dict[AskId, tuple[bytes, asyncio.Future[bytes]]] = {}

    async def find(self, upstream: Upstream) -> tuple[Endpoint, ...]:
        """Where it is. NoPlace (a DatapathError) when nobody knows."""
        if upstream.addresses:
            return endpoints(upstream)
        known = self._known.setdefault(upstream.host, _Known())
        if known.task is None and self._loop.time() >= known.until:
            known.task = self._loop.create_task(self._refresh(upstream.host, known))
        if not known.places and known.task is not None:
            await asyncio.shield(known.task)
        if not known.places:
            names = ", ".join(map(str, self._helpers))
            raise NoPlace(f"{names} did not say where {upstream.host} is")
        return tuple(Endpoint(address, upstream.port) for address in known.places)

    def sweep(self, now: Nanos) -> None:
        for ways in self._ways.values():
            for carrier in ways.values():
                carrier.sweep(now)

    def close(self) -> None:
        for known in self._known.values():
            if known.task is not None:
                known.task.cancel()
        for ways in self._ways.values():
            for carrier in ways.values():
                carrier.close()

    # carrier.Ears

    def answer(self, ask: AskId, wire: bytes) -> None:
        """Junk is passed over: the answer may still come."""
        query, heard = self._heard.get(ask, (b"", None))
        if heard is not None and not heard.done() and echoes(wire, query):
            heard.set_result(wire)

    def ask_failed(self, ask: AskId, why: str) -> None:
        _, heard = self._heard.get(ask, (b"", None))
        if heard is not None and not heard.done():
            heard.set_exception(ConnectionError(why))

    # inside

    async def _refresh(self, host: str, known: _Known) -> None:
        try:
            for helper in self._helpers:
                both = await asyncio.gather(
                    self._ask(helper, host, A), self._ask(helper, host, AAAA)
                )
                places = tuple(address for found, _ in both for address in found)
                if places:
                    known.places = places
                    life = min(ttl for found, ttl in both if found)
                    known.until = self._loop.time() + min(max(life, _SHORTEST), _LONGEST)
                    return
            known.until = self._loop.time() + (_AGAIN if known.places else 0.0)
        finally:
            known.task = None

    async def _ask(
        self, helper: Upstream, host: str, qtype: int
    ) -> tuple[tuple[Address, ...], float]:
        name = from_text(host)
        query = write_query(secrets.randbits(16), name, qtype)
        try:
            async with asyncio.timeout(_PATIENCE):
                for transport in (Transport.UDP, Transport.TCP):
                    wire = await self._one(helper, transport, query)
                    response = read_response(wire)
                    if not response.tc:
                        break
            facts = read_facts(response, name, qtype, False, Nanos(0))
            found = tuple(a for r in facts.records for a in map(_ip, rdata.addresses(r)))
        except (OSError, DatapathError, WireError, TimeoutError):
            return (), 0.0
        return found, float(facts.ttl)

    async def _one(self, helper: Upstream, transport: Transport, query: bytes) -> bytes:
        """The first thing that can be the answer. OSError, DatapathError: none will come."""
        if helper not in self._ways:
            self._ways[helper] = self._make(helper, self)
        ways = self._ways[helper]
        carrier = ways[transport] if transport in ways else ways[Transport.TCP]
        ask = AskId(-next(self._numbers))
        self.asked += 1
        deadline = Nanos(int(_PATIENCE * SECOND))
        heard: asyncio.Future[bytes] = self._loop.create_future()
        self._heard[ask] = query, heard
        try:
            carrier.ask(Ask(ask, 0, transport, query, deadline))
            return await heard
        finally:
            del self._heard[ask]
            carrier.forget(ask)


def _ip(addr: Addr) -> Address:
    return ip_address(addr_text(addr))
