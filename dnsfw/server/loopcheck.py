"""Does an upstream ask us? Then every query would go round for ever.

Each upstream is asked once for a name that nobody else can ask for. When a listener
hears it, the upstream (or one behind it) is dnsfw itself, in whatever disguise: a stub,
a container's address, a forwarder. Both labels are random, so that no cache between
knows the name; its answer does not matter and shows that the upstream is there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from dnsfw.engine.effects import Ask, AskId, Transport
from dnsfw.errors import ConfigError
from dnsfw.model import SECOND, Nanos
from dnsfw.policy.upstream import Upstream, asked
from dnsfw.server.clock import Now
from dnsfw.server.tls import Context
from dnsfw.server.upstream import Own, Upstreams
from dnsfw.wire.codes import PTR
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query

__all__ = ["LoopCheck"]

_PATIENCE = 1.0  # seconds; a loop through a resolver on this host takes milliseconds
_LONGER = 3.0  # with a name to look up and a handshake before the question
_LABEL = 12  # random octets in hexadecimal: no other query will have them


class LoopCheck:
    """Runs once, before `ready`; `heard` is asked of every query meanwhile."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self._upstreams = upstreams
        self._targets = asked(upstreams)
        self._labels = [secrets.token_hex(_LABEL) for _ in self._targets]
        self._needles = [label.encode() for label in self._labels]
        self._waiting = set(range(len(self._targets)))
        self._looped: Upstream | None = None
        self._done = asyncio.Event()

    def heard(self, wire: bytes) -> bool:
        """Is this query one of ours that came back? Then it must not be asked again."""
        lower = wire.lower()
        for target, needle in zip(self._targets, self._needles, strict=True):
            if needle in lower:
                self._looped = target
                self._done.set()
                return True
        return False

    async def run(
        self,
        loop: asyncio.AbstractEventLoop,
        own: Own,
        now: Now,
        contexts: dict[Upstream, Context] | None = None,
    ) -> list[Upstream]:
        """The upstreams that did not answer. ConfigError (exit 2) when one is dnsfw itself."""
        asks = Upstreams(loop, self._upstreams, own, self, contexts=contexts)
        patience = _LONGER if any(t.encrypted for t in self._targets) else _PATIENCE
        deadline = Nanos(now() + int(patience * SECOND))
        try:
            for index, label in enumerate(self._labels):
                name = from_text(f"{label}.{label[::-1]}")
                # The one type that the kernel refuses for no name of which no rule speaks.
                wire = write_query(secrets.randbits(16), name, PTR)
                asks.ask(Ask(AskId(index), index, Transport.UDP, wire, deadline))
            async with asyncio.timeout(patience):
                await self._done.wait()
        except TimeoutError:
            pass
        finally:
            asks.close()
        if self._looped is not None:
            raise ConfigError(
                f"upstream {self._looped} asks dnsfw itself: every query would come back; "
                "name another resolver with --upstream or dns.upstreams"
            )
        return [self._targets[index] for index in sorted(self._waiting)]

    # upstream.Ears

    def answer(self, ask: AskId, wire: bytes) -> None:
        self._waiting.discard(ask)
        if not self._waiting:
            self._done.set()

    def ask_failed(self, ask: AskId, why: str) -> None:
        """Silence and refusal are the same here: it did not answer."""
