"""Asking upstreams: which carrier takes a question, how many may be open, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from dnsfw.engine.effects import Ask, AskId, Transport
from dnsfw.errors import DatapathError
from dnsfw.model import Nanos
from dnsfw.server.address import Endpoint
from dnsfw.server.asks import UdpCarrier
from dnsfw.server.carrier import Carrier, Ears, Own
from dnsfw.server.stream import TcpCarrier

__all__ = ["MAX_ASKS", "Own", "Upstreams"]

MAX_ASKS = 2048  # questions at once; the engine coalesces equal queries before it asks


class Upstreams:
    """Carries out Ask and Forget; tells `ears` what came back, or why nothing can."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        targets: Sequence[Endpoint],
        own: Own,
        ears: Ears,
        max_asks: int = MAX_ASKS,
    ) -> None:
        self.targets = tuple(targets)
        self.asked = 0
        self.refused = 0  # asks past the limit
        self._ears = ears
        self._max_asks = max_asks
        self._carriers: list[dict[Transport, Carrier]] = [
            {
                Transport.UDP: UdpCarrier(loop, target, own, ears),
                Transport.TCP: TcpCarrier(loop, target, own, ears),
            }
            for target in self.targets
        ]
        self._open: dict[AskId, tuple[Carrier, Nanos]] = {}  # until Forget, or the deadline

    def __len__(self) -> int:
        return len(self._open)

    def carriers(self) -> Iterator[Carrier]:
        for ways in self._carriers:
            yield from ways.values()

    def ask(self, effect: Ask) -> None:
        """Send it now; a failure is told to `ears`, also when it is immediate."""
        if len(self._open) >= self._max_asks:
            self.refused += 1
            self._ears.ask_failed(effect.ask, "too many questions are open")
            return
        self.asked += 1
        carrier = self._carriers[effect.upstream][effect.transport]
        self._open[effect.ask] = carrier, effect.deadline
        try:
            carrier.ask(effect)
        except (OSError, DatapathError) as error:
            del self._open[effect.ask]
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

    def close(self) -> None:
        """Let go of every question; the next one may be asked as ever."""
        self._open.clear()
        for carrier in self.carriers():
            carrier.close()
