"""A play whose kernel answers whatever may be asked again: every script, with it and without.

What a client heard is asked again by nobody, so that it is published as soon as it can be. From
then on the kernel's reply is held against the engine's own, whenever somebody asks; and promises
1 and 2 hold for it after every effect (`Play._kernel_tells`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dnsfw.engine.cache import CacheKey
from dnsfw.engine.effects import Ask, Client, Publish, Transport, Withdraw
from dnsfw.errors import WireError
from dnsfw.model import HOST, SECOND, RoleId
from dnsfw.wire import message
from dnsfw.wire.message import RD, Query, Response
from tests.support.play import QUIET, Play, Scene

_NOBODY = "nobody"


@dataclass
class KernelPlay(Play):
    """Publishing needs no mention in a script."""

    quiet: tuple[type, ...] = (*QUIET, Publish, Withdraw)
    asked: dict[CacheKey, bytes] = field(default_factory=dict)

    def raw(
        self, wire: bytes, *, client: object = 1, role: RoleId = HOST, tcp: bool = False
    ) -> Scene:
        query = _plain(wire)
        given = None if query is None else self._given(query, role)
        scene = super().raw(wire, client=client, role=role, tcp=tcp)
        if given is not None and scene.heard:  # else it is asked anew, after a restart
            assert _said(scene.reply.message) == _said(given), "the kernel says something else"
        if query is not None:
            self.asked[CacheKey.of(role, query)] = wire
            self._publish()
        return scene

    def upstream(self, ask: Ask, wire: bytes) -> Scene:
        scene = super().upstream(ask, wire)
        self._publish()
        return scene

    def _given(self, query: Query, role: RoleId) -> Response | None:
        """What the kernel would have said before the engine heard of it."""
        found = self.published.get(CacheKey.of(role, query))
        if found is None or self.now >= found.until:
            return None
        age = -((found.born - self.now) // SECOND) if found.born else 0
        return message.read_response(found.template.render(query, age))

    def _publish(self) -> None:
        """Only what is ready: asking again then changes nothing but who may answer it."""
        engine = self.engine
        counted = dict(engine._counts), dict(engine._asked)
        for key, wire in self.asked.items():
            ready = engine._front.get(key) or engine._refuser.front.get(key)
            if ready is not None and ready.offer and ready.until > self.now:
                nobody = Client(_NOBODY, key.role, Transport.UDP)
                again = self._perform(engine.on_query(wire, nobody, self.now))
                for effect in again.effects:
                    self.unexpected.pop(id(effect), None)
        engine._counts, engine._asked = counted


def _plain(wire: bytes) -> Query | None:
    """What the kernel reads; the rest it leaves alone."""
    try:
        query = message.read_query(wire)
    except WireError:
        return None
    options = query.edns.options if query.edns is not None else ()
    return query if query.flags & RD and not options else None


def _said(heard: Response) -> object:
    """A message, but for id, question's case and the order of records."""
    ede = [option for option in heard.edns.options] if heard.edns is not None else None
    records = sorted((r.owner, r.rtype, r.ttl, r.rdata) for r in heard.answers)
    authority = sorted((r.owner, r.rtype, r.ttl, r.rdata) for r in heard.authority)
    return heard.rcode, heard.flags, records, authority, ede
