"""How questions are said on one connection: bytes in, bytes out, no socket (RFC 7766).

A `Speech` knows which questions wait on its connection and finds them again in what
arrives, in any order. It does not judge an answer: that is the engine's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from dnsfw.errors import WireError
from dnsfw.values import dataclass
from dnsfw.wire.padding import KEEPALIVE, keepalive, padded, with_option
from dnsfw.wire.stream import Frames, frame

__all__ = ["Framed", "Heard", "Speech"]

_MAX_STRAY = 64  # messages that answer nothing; who sends more is broken, or guessing
_FORMERR = 1
_LONGEST_IDLE = 120.0  # seconds, whatever a server offers: a connection costs memory there, too


@dataclass(frozen=True, slots=True)
class Heard:
    """Something came for a question: an answer, or why there is none."""

    number: int
    wire: bytes = b""
    why: str = ""


class Speech(Protocol):
    """One connection's worth of talk. WireError: the stream makes no sense, close it."""

    idle: float | None  # seconds that the server keeps an idle connection, if it said so
    ending: bool  # the server wants no more questions here

    @property
    def most(self) -> int:
        """Questions at once."""

    def __len__(self) -> int:
        """Questions that wait for an answer, also those that nobody wants any more."""

    def begin(self) -> bytes:
        """What is sent before the first question."""

    def ask(self, number: int, wire: bytes) -> bytes:
        """The bytes that ask it."""

    def forget(self, number: int) -> bytes:
        """Its answer is not wanted any more; bytes that say so, if any."""

    def hear(self, data: bytes) -> Iterable[Heard]:
        """What these bytes complete."""

    def reply(self) -> bytes:
        """What the connection itself has to say after `hear`: settings, windows, pings."""


class Framed:
    """Messages with their length before them: TCP and DNS over TLS.

    Every question gets an id of this connection's own, so that two of them never share
    one; an id is not used again while a late answer to it may come. A connection on which
    many never come is given up.
    """

    most = 64

    def __init__(self, random_id: Callable[[], int], *, pad: bool) -> None:
        self.idle: float | None = None
        self.ending = False
        self._random_id = random_id
        self._pad = pad
        self._frames = Frames()
        self._waiting: dict[int, tuple[int, bytes] | None] = {}  # id: number and the asker's id
        self._ids: dict[int, int] = {}  # by number
        self._first: tuple[int, bytes] | None = None  # what went with the keepalive option
        self._out = b""
        self._stray = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self) -> bytes:
        return b""

    def ask(self, number: int, wire: bytes) -> bytes:
        id_ = self._random_id()
        while id_ in self._waiting:
            id_ = (id_ + 1) & 0xFFFF
        self._waiting[id_] = number, wire[:2]
        self._ids[number] = id_
        wire = id_.to_bytes(2, "big") + wire[2:]
        if self._first is None:  # RFC 7828, section 3.2.1: once a connection is enough
            self._first = id_, wire
            wire = with_option(wire, KEEPALIVE)
        return self._framed(wire)

    def forget(self, number: int) -> bytes:
        id_ = self._ids.pop(number, None)
        if id_ is not None:
            self._waiting[id_] = None
            self.ending |= len(self._waiting) - len(self._ids) > self.most // 2
        return b""

    def hear(self, data: bytes) -> Iterable[Heard]:
        for wire in self._frames.feed(data):
            id_ = wire[0] << 8 | wire[1]
            if (said := keepalive(wire)) is not None:
                self.idle = min(said, _LONGEST_IDLE)
                self.ending |= not said  # RFC 7828, section 3.2.2: 0 asks to close
            if id_ not in self._waiting:
                self._stray += 1
                if self._stray > _MAX_STRAY:
                    raise WireError("answers that nobody asked for")
                continue
            if self._first is not None and self._chokes(id_, wire):
                continue
            found = self._waiting[id_]
            if found is None:
                del self._waiting[id_]  # it came late: now the id is free
                continue
            number, asked = found
            yield Heard(number, asked + wire[2:])
            if number not in self._ids:  # taken: it was the answer
                del self._waiting[id_]

    def reply(self) -> bytes:
        out, self._out = self._out, b""
        return out

    def _chokes(self, id_: int, wire: bytes) -> bool:
        """Old servers answer FORMERR to an option that they do not know: asked again without."""
        assert self._first is not None
        asked, first = self._first
        if id_ != asked:
            return False
        self._first = asked, b""  # one answer to it is enough to know
        if not first or wire[3] & 0xF != _FORMERR:
            return False
        self._out += self._framed(first)
        return True

    def _framed(self, wire: bytes) -> bytes:
        return frame(padded(wire) if self._pad else wire)
