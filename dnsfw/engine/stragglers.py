"""Upstreams that were asked beside another, and have not answered when that one has.

Nobody waits for them, but what they do says whether they work and how fast they are: a
resolver that is only ever overtaken would otherwise never be missed, or never come back.
"""

from __future__ import annotations

from collections.abc import Iterable

from dnsfw.engine import notes
from dnsfw.engine.effects import AskId, Effect, Forget
from dnsfw.engine.pending import Pending, Try
from dnsfw.engine.upstreams import Upstreams
from dnsfw.errors import WireError
from dnsfw.model import Name, Nanos, RoleId
from dnsfw.wire.message import Response, echoes, read_response

__all__ = ["Stragglers", "blame", "read_for"]

_MOST = 64  # more say nothing new; those are forgotten with their question


class Stragglers:
    """Tries whose question has ended."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._tries: dict[AskId, tuple[Try, RoleId, Name]] = {}

    def __len__(self) -> int:
        return len(self._tries)

    def take(self, pending: Pending) -> list[AskId]:
        """Keep the open tries of an answered question that are not counted yet."""
        taken = []
        for ask, one in pending.tries.items():
            if not one.blamed and len(self._tries) < _MOST:
                self._tries[ask] = one, pending.key.role, pending.name
                taken.append(ask)
        return taken

    def answered(self, ask: AskId, wire: bytes, now: Nanos) -> list[Effect]:
        found = self._tries.get(ask)
        if found is None or read_for(wire, found[0]) is None:
            return []
        del self._tries[ask]
        self._upstreams.worked(found[0].ask.upstream, found[0].since, now)
        return [Forget(ask)]

    def failed(self, ask: AskId, why: str, now: Nanos) -> list[Effect]:
        found = self._tries.pop(ask, None)
        if found is None:
            return []
        one, role, name = found
        return [Forget(ask), *blame(self._upstreams, one, role, name, why, now)]

    def on_deadline(self, now: Nanos) -> list[Effect]:
        """Who was silent until now has failed."""
        effects: list[Effect] = []
        for ask in [ask for ask, (one, _, _) in self._tries.items() if one.until <= now]:
            effects += self.failed(ask, "no answer in time", now)
        return effects

    def next_wake(self) -> Nanos | None:
        return min((one.until for one, _, _ in self._tries.values()), default=None)


def read_for(wire: bytes, one: Try) -> Response | None:
    """The answer to this try; None for anything else."""
    if not echoes(wire, one.ask.wire):
        return None
    try:
        return read_response(wire)
    except WireError:
        return None


def blame(
    upstreams: Upstreams, one: Try, role: RoleId, name: Name, why: str, now: Nanos
) -> Iterable[Effect]:
    """Hold a failure against an upstream; a note, unless it has answered since."""
    if not upstreams.failed(one.ask.upstream, one.since, now):
        return ()
    return (notes.upstream_failed(role, name, one.ask.upstream, why),)
