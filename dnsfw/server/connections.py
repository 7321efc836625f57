"""Questions over connections that stay open: TCP, DNS over TLS, DNS over HTTPS (RFC 7766).

Many questions share a connection and are answered in any order. One that closes with
questions on it is replaced, and they are asked again there, once: a server closes idle
connections whenever it likes, also at the moment in which we ask.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from dnsfw.engine.effects import Ask, AskId
from dnsfw.errors import DnsfwError, WireError
from dnsfw.model import SECOND, Nanos
from dnsfw.server.carrier import Ears, Ways
from dnsfw.server.dial import Dialer
from dnsfw.server.speech import Speech
from dnsfw.server.tls import why_not

__all__ = ["Connections", "Question", "Speak"]

_MOST = 4  # connections; of those that carry one question at a time, more
_MOST_SINGLE = 16
_IDLE = 20.0  # seconds, where the server says nothing (RFC 7766, section 6.2.3: seconds)
_WORRYING = 1.0  # so long without a word: new questions go elsewhere, in case it is dead
_SILENT = 5.0  # questions wait and nothing comes: the way is broken, whatever TCP thinks
_SLEPT = 20 * SECOND  # between two sweeps
_CLOSED = "the upstream closed the connection"

Speak = Callable[[str | None], Speech]  # by the protocol that TLS agreed on (ALPN)


class Question:
    """One Ask on its way."""

    __slots__ = ("again", "ask", "link", "wire")

    def __init__(self, ask: AskId, wire: bytes) -> None:
        self.ask = ask
        self.wire = wire
        self.link: Link | None = None
        self.again = False  # it was on a connection that closed


class Link(asyncio.Protocol):
    """One connection, from its handshake to its end."""

    def __init__(self, owner: Connections) -> None:
        self.speech: Speech | None = None
        self.questions: dict[AskId, Question] = {}
        self.used = owner.loop.time()
        self._asked: float | None = None  # the first question since something was heard
        self._kept = False
        self._owner = owner
        self._transport: asyncio.Transport | None = None

    @property
    def room(self) -> int:
        """How many more questions it may carry."""
        speech = self.speech
        if speech is None or self._transport is None or speech.ending:
            return 0
        if self._asked is not None and self._owner.loop.time() - self._asked > _WORRYING:
            return 0
        return speech.most - len(speech)

    def send(self, question: Question) -> None:
        assert self.speech is not None and self._transport is not None
        question.link = self
        self.used = self._owner.loop.time()
        if self._asked is None:
            self._asked = self.used
        self.questions[question.ask] = question
        self._transport.write(self.speech.ask(question.ask, question.wire))

    def drop(self, question: Question) -> None:
        self.questions.pop(question.ask, None)
        if self.speech is not None and self._transport is not None:
            self._write(self.speech.forget(question.ask))

    def dull(self, now: float) -> bool:
        """Is it idle for too long, or is nothing heard where something should be?"""
        if self._asked is not None and now - self._asked > _SILENT:
            return True  # also where nobody waits any more: the next one must not
        if self.questions:
            return False
        idle = self.speech.idle if self.speech is not None else None
        ending = self.speech is None or self.speech.ending
        return ending or now - self.used > (_IDLE if idle is None else idle)

    def end(self, *, at_once: bool = False) -> None:
        """Close it; the questions on it are the caller's."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort() if at_once or self.questions else transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports have the methods, not the base class.
        self._transport = transport = cast(asyncio.Transport, transport)
        tls: Any = transport.get_extra_info("ssl_object")
        self.speech = self._owner.speak(tls.selected_alpn_protocol() if tls else None)
        # What it begins with goes out with the first question, after a pin was looked at.

    def begin(self) -> None:
        if self.speech is not None:
            self._write(self.speech.begin())

    def data_received(self, data: bytes) -> None:
        speech, owner = self.speech, self._owner
        if speech is None:
            return
        self._asked = None
        try:
            for heard in speech.hear(data):
                owner.heard(self, AskId(heard.number), heard.wire, heard.why)
            self._write(speech.reply())
        except WireError as error:
            owner.broke(self, str(error), again=False)
            return
        if not self._kept and self._transport is not None:
            owner.keep_session(self._transport)
            self._kept = True
        owner.serve()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.broke(self, _CLOSED if exc is None else why_not(exc), again=True)

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)


class Connections:
    """The carrier of one upstream that is asked over connections."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dialer: Dialer,
        speak: Speak,
        ears: Ears,
        ways: Ways,
    ) -> None:
        self.loop = loop
        self.ways = ways
        self.speak = speak
        self._dialer = dialer
        self._ears = ears
        self._links: list[Link] = []
        self._open: dict[AskId, Question] = {}
        self._waiting: deque[Question] = deque()
        self._dials: set[asyncio.Task[None]] = set()
        self._swept = Nanos(0)
        self._each = 64  # questions that a connection carried, when last seen

    def ask(self, effect: Ask) -> None:
        question = Question(effect.ask, effect.wire)
        self._open[effect.ask] = question
        self._waiting.append(question)
        self.ways.reused += any(link.room > 0 for link in self._links)
        self.serve()

    def forget(self, ask: AskId) -> None:
        question = self._open.pop(ask, None)
        if question is not None and question.link is not None:
            question.link.drop(question)

    def sweep(self, now: Nanos) -> None:
        """A host that slept has forgotten its connections, or its peers have."""
        moment, slept = self.loop.time(), 0 < self._swept < now - _SLEPT
        self._swept = now
        for link in [link for link in self._links if slept or link.dull(moment)]:
            self.broke(link, "the upstream fell silent", again=True)

    def close(self) -> None:
        for dial in tuple(self._dials):
            dial.cancel()
        links, self._links = self._links, []
        self._open.clear()
        self._waiting.clear()
        for link in links:
            link.end(at_once=True)
            link.questions.clear()
        self.ways.open = 0

    # inside, and for Link

    def serve(self) -> None:
        """Hand what waits to connections with room; open another where there is none."""
        while self._waiting:
            if self._waiting[0].ask not in self._open:
                self._waiting.popleft()  # forgotten meanwhile
                continue
            link = max(self._links, key=lambda one: one.room, default=None)
            if link is None or link.room <= 0:
                self._dial_more()
                return
            question = self._waiting.popleft()
            try:
                link.send(question)
            except WireError as error:
                self.broke(link, str(error), again=True)

    def heard(self, link: Link, ask: AskId, wire: bytes, why: str) -> None:
        """Something came for a question; the ears decide whether it was the answer."""
        if why:
            self._fail(ask, why)
        elif ask in self._open:
            self._ears.answer(ask, wire)

    def broke(self, link: Link, why: str, *, again: bool) -> None:
        """A connection is gone, or must go: its questions go elsewhere once, or fail."""
        if link not in self._links:
            return
        self._links.remove(link)
        self.ways.open = len(self._links)
        questions = list(link.questions.values())
        link.end()
        link.questions.clear()
        if questions:
            self.ways.failed += 1
            self.ways.last_error = why
        lost = []
        for question in questions:
            question.link = None
            if again and not question.again:
                question.again = True
                self._waiting.append(question)
            else:
                lost.append(question)
        for question in lost:
            self._fail(question.ask, why)
        self.serve()

    def keep_session(self, transport: asyncio.Transport) -> None:
        """With TLS 1.3 a ticket comes after the handshake, so not before an answer."""
        context = self._dialer.context
        if context is not None:
            context.keep(transport.get_extra_info("ssl_object"))

    def _fail(self, ask: AskId, why: str) -> None:
        question = self._open.pop(ask, None)
        if question is None:
            return
        if question.link is not None:
            question.link.questions.pop(ask, None)
        self.ways.last_error = why
        self._ears.ask_failed(ask, why)

    def _dial_more(self) -> None:
        most = _MOST if self._each > 1 else _MOST_SINGLE
        wanted = -(-len(self._waiting) // max(1, self._each)) - len(self._dials)
        for _ in range(min(wanted, most - len(self._links) - len(self._dials))):
            dial = self.loop.create_task(self._dial())
            self._dials.add(dial)
            dial.add_done_callback(self._dials.discard)

    async def _dial(self) -> None:
        try:
            link = await self._dialer.dial(lambda: Link(self))
        except (OSError, ssl.SSLError, TimeoutError, DnsfwError) as error:
            self._not_dialled(why_not(error))
            return
        if link.room <= 0:  # it closed at once
            self._not_dialled(_CLOSED)
            return
        assert link.speech is not None
        self._each = link.speech.most
        self._links.append(link)
        self.ways.open = len(self._links)
        self.ways.opened += 1
        link.begin()
        self.serve()

    def _not_dialled(self, why: str) -> None:
        """Who waits for this connection alone hears of it; others may still come."""
        self.ways.failed += 1
        self.ways.last_error = why
        if self._links or len(self._dials) > 1:
            return
        waiting, self._waiting = self._waiting, deque()
        for question in waiting:
            self._fail(question.ask, why)
