"""Questions over UDP: a connected socket for each, that nobody else uses at that time.

A connected socket hears only its peer, and its port was chosen at random by the kernel: a
forger off the path must guess port and id. To make one costs more than to ask, so one that
heard a single answer, the right one, may ask again, a few times within two seconds: finding
an open port by its side effects takes longer (SAD DNS, CVE-2020-25705: about a thousand
ports a second). What heard anything else, or heard nothing, is closed.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from contextlib import suppress

from dnsfw.engine.effects import Ask, AskId
from dnsfw.model import Nanos
from dnsfw.server.address import Endpoint
from dnsfw.server.carrier import Ears, Own, Ways, fresh

__all__ = ["LIFE", "QUESTIONS", "UdpAsk", "UdpCarrier"]

LIFE = 2.0  # seconds a port is open for new questions
QUESTIONS = 32  # that one port asks: making a socket is then 3 per cent of asking
_IDLE = 256  # sockets that wait for a question; each is a descriptor
_LONGEST_ANSWER = 65535
# Datagrams heard for one question: a forger who found the port gets this many guesses at the
# id, then the question is asked again from another port (the idea of Unbound's
# unwanted-reply-threshold).
_MAX_GUESSES = 64


class UdpCarrier:
    """Datagrams to one upstream."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, target: Endpoint, own: Own, ears: Ears
    ) -> None:
        self.ways = Ways()
        self._loop = loop
        self._target = target
        self._own = own
        self._ears = ears
        self._open: dict[AskId, UdpAsk] = {}
        self._idle: deque[UdpAsk] = deque()  # the one that rested longest first

    def ask(self, effect: Ask) -> None:
        if (one := self._rested()) is not None:
            with suppress(OSError):  # it says what became of an older question
                one.ask(effect)
                self._open[effect.ask] = one
                self.ways.reused += 1
                return
        one = UdpAsk(self._loop, self._target, self._own, self._ears)
        self.ways.opened += 1
        one.ask(effect)
        self._open[effect.ask] = one

    def forget(self, ask: AskId) -> None:
        one = self._open.pop(ask, None)
        if one is None:
            return
        if len(self._idle) < _IDLE and one.rest(self._loop.time()):
            self._idle.append(one)
        else:
            one.close()

    def sweep(self, now: Nanos) -> None:
        """Ports that nobody asks from are closed soon, too."""
        for one in [one for one in self._idle if not one.usable(self._loop.time())]:
            one.close()
            self._idle.remove(one)
        self.ways.open = len(self._open) + len(self._idle)

    def close(self) -> None:
        for one in (*self._open.values(), *self._idle):
            one.close()
        self._open.clear()
        self._idle.clear()

    def _rested(self) -> UdpAsk | None:
        """A socket that may ask once more."""
        while self._idle:
            one = self._idle.popleft()
            if one.usable(self._loop.time()):
                return one
            one.close()
        return None


class UdpAsk:
    """One socket, and the question it asks now."""

    __slots__ = (
        "_answering", "_ask", "_born", "_ears", "_fd", "_guesses", "_loop", "_questions", "_sock",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, target: Endpoint, own: Own, ears: Ears
    ) -> None:
        """OSError when the host would not even send to this target."""
        self._loop = loop
        self._ears = ears
        self._ask: AskId | None = None
        self._guesses = 0  # datagrams heard for this question
        self._questions = 0
        self._answering = False
        self._born = loop.time()
        self._sock = fresh(socket.SOCK_DGRAM, target, own)
        try:
            self._sock.connect(target.sockaddr)
        except BaseException:
            self._sock.close()
            raise
        self._fd = self._sock.fileno()
        loop.add_reader(self._fd, self._read)

    def ask(self, effect: Ask) -> None:
        """Send it. OSError when it cannot leave; the socket is closed then."""
        self._ask = effect.ask
        self._guesses = 0
        self._questions += 1
        try:
            self._sock.send(effect.wire)
        except BaseException:
            self.close()
            raise

    def rest(self, now: float) -> bool:
        """Whether the question came to its end by the first thing that was heard; it waits for
        another one then.
        """
        good = self._answering and self._guesses == 1 and self.usable(now)
        self._ask = None
        return good

    def usable(self, now: float) -> bool:
        """Whether it may ask once more: it has heard nothing unasked for, and is young."""
        return self._fd >= 0 and self._questions < QUESTIONS and now - self._born < LIFE

    def close(self) -> None:
        if self._fd >= 0:
            self._fd = -1
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _read(self) -> None:
        ask = self._ask
        if ask is None:  # who speaks without being asked, or what an ICMP error says
            self.close()
            return
        while self._ask is ask and self._fd >= 0:  # an answer ends the question
            try:
                size = self._sock.recv_into(_BUFFER)
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error of this very socket
                self._fail(ask, os.strerror(error.errno or 0))
                return
            self._guesses += 1
            if self._guesses > _MAX_GUESSES:
                self._fail(ask, "too many wrong answers")
                return
            self._answering = True
            try:
                self._ears.answer(ask, bytes(_VIEW[:size]))
            finally:
                self._answering = False

    def _fail(self, ask: AskId, why: str) -> None:
        self.close()
        self._ears.ask_failed(ask, why)


_BUFFER = bytearray(_LONGEST_ANSWER)  # of all: what was read is copied before the next read
_VIEW = memoryview(_BUFFER)
