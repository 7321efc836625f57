"""Asking upstreams: which carrier takes a question, how many may be open, and who is told.

An upstream that is asked over TLS or HTTPS has no other carrier: there is no way by which
a question to it could leave in clear.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from dnsfw.engine.effects import Ask, AskId, Transport
from dnsfw.errors import DatapathError
from dnsfw.model import Nanos
from dnsfw.policy.upstream import Upstream, asked, helpers
from dnsfw.server.address import endpoints
from dnsfw.server.asks import UdpCarrier
from dnsfw.server.bootstrap import Bootstrap
from dnsfw.server.carrier import Carrier, Ears, Own, Together, Ways, each
from dnsfw.server.connections import Connections, Speak
from dnsfw.server.dial import Dialer
from dnsfw.server.http1 import Http1
from dnsfw.server.speech import Framed, Speech
from dnsfw.server.tls import Context, context_for

__all__ = ["MAX_ASKS", "Own", "Upstreams"]

MAX_ASKS = 2048  # questions at once; the engine coalesces equal queries before it asks
_ID_BITS = 16
_HTTPS_PORT = 443


class Upstreams:
    """Carries out Ask and Forget; tells `ears` what came back, or why nothing can."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        upstreams: Sequence[Upstream],
        own: Own,
        ears: Ears,
        max_asks: int = MAX_ASKS,
        contexts: dict[Upstream, Context] | None = None,
        together: Together = each,
    ) -> None:
        """`contexts` are what another of these has made: certificates are read once, at the
        start. ConfigError: there is nothing to check the certificate of an upstream by.
        """
        self.contexts = {} if contexts is None else contexts
        self.written = tuple(upstreams)
        self.targets = asked(upstreams)  # helpers have no index: no question goes to them
        self.asked = 0
        self.refused = 0  # asks past the limit
        self._loop = loop
        self._own = own
        self._ears = ears
        self._together = together
        self._max_asks = max_asks
        found = [u for u in (*helpers(upstreams), *self.targets) if u.addresses]
        self._bootstrap = Bootstrap(loop, found, self._ways)
        self._carriers = [self._ways(target, ears) for target in self.targets]
        self._open: dict[AskId, tuple[Carrier, Nanos]] = {}  # until Forget, or the deadline

    def __len__(self) -> int:
        return len(self._open)

    def carriers(self, index: int | None = None) -> Iterator[Carrier]:
        """Those of one upstream, or all."""
        for ways in self._carriers if index is None else (self._carriers[index],):
            yield from ways.values()

    def ask(self, effect: Ask) -> None:
        """Send it now; a failure is told to `ears`, also when it is immediate."""
        if len(self._open) >= self._max_asks:
            self.refused += 1
            self._ears.ask_failed(effect.ask, "too many questions are open")
            return
        self.asked += 1
        id_, index, transport, _, deadline = effect
        ways = self._carriers[index]
        carrier = ways.get(transport) or ways[Transport.TCP]
        self._open[id_] = carrier, deadline
        try:
            carrier.ask(effect)
        except (OSError, DatapathError) as error:
            del self._open[id_]
            self._ears.ask_failed(effect.ask, getattr(error, "strerror", None) or str(error))

    def forget(self, ask: AskId) -> None:
        if (one := self._open.pop(ask, None)) is not None:
            one[0].forget(ask)

    def sweep(self, now: Nanos) -> None:
        """Close what is past its deadline, whether or not the engine remembers it."""
        for ask in [ask for ask, (_, deadline) in self._open.items() if deadline < now]:
            self.forget(ask)
        for carrier in self.carriers():
            carrier.sweep(now)
        self._bootstrap.sweep(now)

    def close(self) -> None:
        """Let go of every question; the next one may be asked as ever."""
        self._open.clear()
        for carrier in self.carriers():
            carrier.close()
        self._bootstrap.close()

    def _ways(self, upstream: Upstream, ears: Ears) -> Mapping[Transport, Carrier]:
        """The carriers of one upstream."""
        done = Ways()
        where = partial(self._bootstrap.find, upstream)
        dialer = Dialer(self._loop, upstream, where, self._own, done, self._context(upstream))
        stream = Connections(self._loop, dialer, _speaking(upstream), ears, done)
        if upstream.scheme != "udp":
            return {Transport.TCP: stream}
        (target,) = endpoints(upstream)
        return {
            Transport.UDP: UdpCarrier(self._loop, target, self._own, ears, self._together),
            Transport.TCP: stream,
        }

    def _context(self, upstream: Upstream) -> Context | None:
        if upstream.encrypted and upstream not in self.contexts:
            self.contexts[upstream] = context_for(upstream)
        return self.contexts.get(upstream)


def _speaking(upstream: Upstream) -> Speak:
    """How to talk to it, by what TLS agreed on."""
    if upstream.scheme != "https":
        random_id = partial(secrets.randbits, _ID_BITS)
        return lambda alpn: Framed(random_id, pad=upstream.encrypted)
    # Only who asks this way pays for it; and now, not when the daemon has given up its rights.
    from dnsfw.server.http2 import Http2

    name, port = upstream.name, upstream.port
    host = f"[{name}]" if ":" in name else name
    authority = host if port == _HTTPS_PORT else f"{host}:{port}"

    def speak(alpn: str | None) -> Speech:
        kind = Http2 if alpn == "h2" else Http1
        return kind(authority, upstream.path)

    return speak
