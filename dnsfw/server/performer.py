"""Carries out the engine's effects, in order: the one place where decisions become acts.

What the sockets hear goes in by `query`, `answer` and `ask_failed`; what the engine
wants goes out to sink, journal, upstreams, clients and watchers. An effect that makes
new effects (an ask that cannot be sent) puts them behind those that were there first.

What is heard together leads to acts together: one write of the journal and one of the tables
for all that is opened, and only then the replies (`server/opening.py`); questions go upstream one
behind the other, and find whoever hears them awake.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from dnsfw.datapath.sink import Sink
from dnsfw.engine.effects import (
    Ask,
    AskId,
    Client,
    Close,
    Cut,
    Effect,
    Forget,
    Note,
    OpenThenReply,
    Publish,
    Reply,
    Withdraw,
)
from dnsfw.engine.engine import Engine
from dnsfw.errors import DatapathError
from dnsfw.model import SECOND, Nanos
from dnsfw.server.answers import Book
from dnsfw.server.clock import Alarm, Now
from dnsfw.server.faults import Faults
from dnsfw.server.opening import Journaling, Opening

__all__ = ["Asker", "Journaling", "Performer", "Route"]

_AT_ONCE = 16  # questions, so that none of a batch waits long for the others
_USUAL = 2  # effects of an answer: its question is over, and what it opens


class Route(Protocol):
    """The way back of a query: what `Client.route` is on this side."""

    def send(self, wire: bytes) -> None: ...


class Asker(Protocol):
    """The upstream sockets."""

    def ask(self, effect: Ask) -> None: ...

    def forget(self, ask: AskId) -> None: ...


class Performer:
    """Engine on one side, sockets and kernel on the other."""

    def __init__(
        self,
        engine: Engine,
        sink: Sink,
        journal: Journaling,
        now: Now,
        faults: Faults,
        on_note: Callable[[Note], None],
    ) -> None:
        self.engine = engine
        self.unwritten = 0  # closings and cuts that the kernel refused
        self.book: Book | None = None  # where the kernel answers by itself
        self.on_withdraw: Callable[[], None] = _uncopied  # what other processes answer by
        self.on_open: Callable[[Sequence[OpenThenReply]], None] = _unheard  # what is open now
        # For the log and the history. Ready answers pass by neither: they were asked for before.
        self.on_asked: Callable[[Client], None] | None = None
        self.on_told: Callable[[Sequence[Effect]], None] | None = None
        self.heard: Client | None = None  # whom the last reply of these effects went to
        self._sink = sink
        self._journal = journal
        self._now = now
        self._faults = faults
        self._on_note = on_note
        self._asker: Asker | None = None
        self._alarm: Alarm | None = None
        self._queue: deque[Effect] = deque()
        self._opening = Opening(sink, journal, faults, self._opened, self._not_opened)
        self._together = False  # what is heard is gathered
        self._ending = False  # and until all of it is done
        self._ends: list[Callable[[], None]] = []
        self._asks: list[Ask] = []
        self._busy = False

    def connect(self, asker: Asker, alarm: Alarm) -> None:
        """Give the sockets, which in turn need the performer to talk to."""
        self._asker = asker
        self._alarm = alarm

    def close(self) -> None:
        """No alarm rings any more."""
        if self._alarm is not None:
            self._alarm.close()

    # what the sockets hear; nothing that a peer sends leaves here as an exception

    def query(self, wire: bytes, client: Client) -> None:
        try:
            effects = self.engine.on_query(wire, client, self._now())
        except Exception as error:
            self._faults.caught("reading a query", error)
            return
        # The hot paths: a reply alone (a hit, mostly) moves no deadline, so no alarm is set; and
        # of a question alone there is nothing to tell yet.
        if len(effects) == 1 and not self._busy:
            effect = effects[0]
            if isinstance(effect, Reply):
                try:
                    _send(effect[0], effect[1])
                except Exception as error:
                    self._faults.caught("performing Reply", error)
                return
            if isinstance(effect, Ask):
                self._ask(effect, client)
                return
        # What it opens is opened now: the next of its batch may be told from the front what this
        # has put there, and nobody could take that back if the write failed.
        together, self._together = self._together, False
        try:
            self._react(effects, client)
        finally:
            self._together = together

    def answer(self, ask: AskId, wire: bytes) -> None:
        try:
            effects = self.engine.on_answer(ask, wire, self._now())
        except Exception as error:
            self._faults.caught("reading an answer", error)
            return
        if self._together and len(effects) == _USUAL and self.on_told is None:
            gone, opened = effects
            if type(gone) is Forget and type(opened) is OpenThenReply:
                assert self._asker is not None
                self._asker.forget(gone[0])
                self._opening.add(opened)
                return
        self._react(effects)

    def together(self, hear: Callable[[], None]) -> None:
        """Act at its end on what `hear` leads to: `carrier.Together`."""
        if self._together:
            hear()
            return
        self._together = self._ending = True
        try:
            hear()
        finally:
            self._together = False
            try:
                self._send_asks()
                opened = self._opening.waiting[:1]
                self._open()
                if opened and self._alarm is not None:  # it lasts longer than that
                    self._alarm.by(Nanos(self._now() + SECOND), self._next_deadline)
            finally:
                self._ending = False
                ends, self._ends = self._ends, []
                for act in ends:
                    act()

    def at_end(self, act: Callable[[], None]) -> bool:
        """Do it when all is done that was heard together; False if nothing was."""
        if self._ending:
            self._ends.append(act)
        return self._ending

    def ask_failed(self, ask: AskId, why: str) -> None:
        try:
            effects = self.engine.on_ask_failed(ask, why, self._now())
        except Exception as error:
            self._faults.caught("giving up an upstream", error)
        else:
            self._react(effects)

    def deadline(self) -> None:
        """The alarm rang: what the engine waited for did not come."""
        try:
            now = self._now()
            effects = self.engine.on_deadline(now)
            if self.book is not None:
                effects += self.book.on_deadline(now)
        except Exception as error:
            self._faults.caught("keeping a deadline", error)
            effects = []
        self._react(effects)

    # what the engine wants

    def _react(self, effects: list[Effect], client: Client | None = None) -> None:
        """What came of a query, of an answer, or of its absence."""
        self.heard = None
        try:
            if self.on_asked is not None and client is not None:
                self.on_asked(client)
            if self.on_told is not None and effects:
                self.on_told(effects)
        except Exception as error:
            self._faults.caught("keeping the log of names", error)
        self.perform(effects)

    def _ask(self, effect: Ask, client: Client) -> None:
        try:
            if self.on_asked is not None:
                self.on_asked(client)
        except Exception as error:
            self._faults.caught("keeping the log of names", error)
        self._asks.append(effect)
        if not self._together or len(self._asks) >= _AT_ONCE:
            self._send_asks()

    def _send_asks(self) -> None:
        """Send the questions that wait for it."""
        if not self._asks:
            return
        asks, self._asks = self._asks, []
        assert self._asker is not None
        send = self._asker.ask
        for effect in asks:
            try:
                send(effect)
            except Exception as error:
                self._faults.caught("performing Ask", error)
        if self._alarm is not None:  # the others were asked later
            self._alarm.by(self.engine.late(asks[0]), self._next_deadline)

    def perform(self, effects: Iterable[Effect]) -> None:
        self._queue.extend(effects)
        if self._busy:
            return
        self._busy = True
        while self._queue:
            effect = self._queue.popleft()
            try:
                self._do(effect)
            except Exception as error:
                self._faults.caught(f"performing {type(effect).__name__}", error)
        self._busy = False
        if not self._together:
            self._open()
        if self._alarm is not None:
            self._alarm.ask(self._next_deadline)

    def _next_deadline(self) -> Nanos | None:
        due = self.engine.next_deadline()
        mine = self.book.next_due() if self.book is not None else None
        return due if mine is None or (due is not None and due < mine) else mine

    def _do(self, effect: Effect) -> None:
        match effect:
            case Reply(client, wire):
                self.heard = client
                _send(client, wire)
            case OpenThenReply():
                self._opening.add(effect)
                if effect.replies:
                    self.heard = effect.replies[-1].client  # the notes behind it are about him
                if not self._together or effect.publish:
                    self._opening.commit()
            case Ask():
                assert self._asker is not None
                self._asker.ask(effect)
            case Forget(ask):
                assert self._asker is not None
                self._send_asks()  # it may be one of them
                self._asker.forget(ask)
            case Note():
                self._on_note(effect)
            case Close() | Cut() | Publish() | Withdraw():
                self._opening.commit()  # in the order in which they were decided
                self._change(effect)

    def _change(self, effect: Close | Cut | Publish | Withdraw) -> None:
        match effect:
            case Close():
                self._close(effect)
            case Cut(flows):
                self._try(lambda: self._sink.cut(flows))
            case Publish():
                if self.book is not None:
                    self.book.publish(effect, self._now())
            case Withdraw():
                if self.book is not None:
                    self.book.withdraw()
                self.on_withdraw()

    def _open(self) -> None:
        """Open what waits for it, and what comes of that."""
        if self._opening.waiting and not self._busy:
            self._busy = True
            try:
                self._opening.commit()
            finally:
                self._busy = False
            if self._queue:  # what failed has led to more
                self.perform(())

    def _opened(self, effects: Sequence[OpenThenReply]) -> None:
        """The kernel has taken it: now its clients may hear."""
        for effect in effects:
            try:
                for client, wire in effect[2]:
                    self.heard = client
                    _send(client, wire)
                for item in effect[3]:
                    self._do(item)
            except Exception as error:  # one client's; the others' answers go on
                self._faults.caught("performing OpenThenReply", error)
        try:
            self.on_open(effects)
        except Exception as error:
            self._faults.caught("remembering what was opened", error)

    def _not_opened(self, effect: OpenThenReply) -> None:
        self.perform(self.engine.on_open_failed(effect, self._now()))

    def _close(self, effect: Close) -> None:
        """Nobody waits for it; what could not be written is deleted, so that it fails closed."""
        try:
            self._sink.write(effect.entries)
        except DatapathError:
            self.unwritten += 1
            self.perform(self.engine.on_close_failed(effect))

    def _try(self, act: Callable[[], None]) -> None:
        """Nobody waits for these: the kernel's own deadlines and dead rules close what stays."""
        try:
            act()
        except DatapathError:
            self.unwritten += 1


def _unheard(effects: Sequence[OpenThenReply]) -> None:
    """Nobody keeps a history."""


def _uncopied() -> None:
    """Nobody answers beside us."""


def _send(client: Client, wire: bytes) -> None:
    route: Route = client.route  # type: ignore[assignment]  # the server put it there
    route.send(wire)
