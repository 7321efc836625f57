"""Asking upstreams: a fresh connected socket for every Ask, closed by Forget or its deadline.

A fresh socket has a port of its own, chosen at random by the kernel, and a
connected one hears only its peer: a forger off the path must guess port and id
for every query anew. What arrives is not looked at here; the engine ignores junk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from dnsfw.engine.effects import Ask, AskId, Transport
from dnsfw.errors import DatapathError
from dnsfw.model import Nanos
from dnsfw.server.address import Endpoint
from dnsfw.server.asks import Ears, TcpAsk, UdpAsk

__all__ = ["MAX_ASKS", "Own", "Upstreams"]

MAX_ASKS = 2048  # sockets at once; the engine coalesces equal queries before it asks

Own = Callable[[int], None]  # marks a descriptor as the daemon's, before it connects


class _Socket(Protocol):
    deadline: Nanos

    def close(self) -> None: ...


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
        self._loop = loop
        self._own = own
        self._ears = ears
        self._max_asks = max_asks
        self._open: dict[AskId, _Socket] = {}

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, effect: Ask) -> None:
        """Send it now; a failure is told to `ears`, also when it is immediate."""
        if len(self._open) >= self._max_asks:
            self.refused += 1
            self._ears.ask_failed(effect.ask, "too many questions are open")
            return
        self.asked += 1
        kind = UdpAsk if effect.transport is Transport.UDP else TcpAsk
        try:
            self._open[effect.ask] = kind(
                self._loop, self.targets[effect.upstream], self._own, self._ears, effect
            )
        except (OSError, DatapathError) as error:
            self._ears.ask_failed(effect.ask, getattr(error, "strerror", None) or str(error))

    def forget(self, ask: AskId) -> None:
        if (sock := self._open.pop(ask, None)) is not None:
            sock.close()

    def sweep(self, now: Nanos) -> None:
        """Close what is past its deadline, whether or not the engine remembers it."""
        for ask in [ask for ask, sock in self._open.items() if sock.deadline < now]:
            self.forget(ask)

    def close(self) -> None:
        for ask in tuple(self._open):
            self.forget(ask)
