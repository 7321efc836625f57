"""Questions over UDP: a connected socket for each, that nobody else uses at that time.

A connected socket hears only its peer, and its port was chosen at random by the kernel: a
forger off the path must guess port and id. To make one costs more than to ask, so one that
heard a single answer, the right one, may ask again, a few times within two seconds: finding
an open port by its side effects takes longer (SAD DNS, CVE-2020-25705: about a thousand
ports a second). What heard anything else, or heard nothing, is closed.

All sockets to one upstream stand in one epoll set of their own, and the loop watches that: a
wake-up reads whatever has come to any of them, and what comes of it is done together.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections import deque
from collections.abc import Callable

from dnsfw.engine.effects import Ask, AskId
from dnsfw.model import Nanos
from dnsfw.server.address import Endpoint
from dnsfw.server.carrier import Ears, Own, Together, Ways, each, fresh

__all__ = ["LIFE", "QUESTIONS", "UdpAsk", "UdpCarrier"]

LIFE = 2.0  # seconds a port is open for new questions
QUESTIONS = 32  # that one port asks: making a socket is then 3 per cent of asking
_IDLE = 256  # sockets that wait for a question; each is a descriptor
_AT_ONCE = 64  # sockets read in one wake-up: the others of the loop wait so long
_LONGEST_ANSWER = 65535
# Datagrams heard for one question: a forger who found the port gets this many guesses at the
# id, then the question is asked again from another port (the idea of Unbound's
# unwanted-reply-threshold).
_MAX_GUESSES = 64


class UdpCarrier:
    """Datagrams to one upstream."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Endpoint,
        own: Own,
        ears: Ears,
        together: Together = each,
    ) -> None:
        self.ways = Ways()
        self._loop = loop
        self._target = target
        self._own = own
        self._ears = ears
        self._together = together
        self._open: dict[AskId, UdpAsk] = {}
        self._idle: deque[UdpAsk] = deque()  # the one that rested longest first
        self._poll: select.epoll | None = None
        self._by_fd: dict[int, UdpAsk] = {}

    def ask(self, effect: Ask) -> None:
        idle, now = self._idle, self._loop.time()
        while idle:
            one = idle.popleft()
            if one.fd < 0 or one.questions >= QUESTIONS or now - one.born >= LIFE:
                one.close()
                continue
            try:
                one.ask(effect)
            except OSError:  # it says what became of an older question
                continue
            self._open[effect[0]] = one
            self.ways.reused += 1
            return
        one = self._made(now)
        self.ways.opened += 1
        one.ask(effect)
        self._open[effect[0]] = one

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
        for one in list(self._by_fd.values()):
            one.close()
        self._open.clear()
        self._idle.clear()
        if self._poll is not None:
            self._loop.remove_reader(self._poll.fileno())
            self._poll.close()
            self._poll = None

    def _made(self, now: float) -> UdpAsk:
        if self._poll is None:
            self._poll = select.epoll()
            self._loop.add_reader(self._poll.fileno(), self._ready)
        one = UdpAsk(now, self._target, self._own, self._gone)
        self._by_fd[one.fd] = one
        self._poll.register(one.fd, select.EPOLLIN)
        return one

    def _gone(self, fd: int) -> None:
        """A socket is about to be closed, which takes it out of the set."""
        self._by_fd.pop(fd, None)

    def _ready(self) -> None:
        self._together(self._read)

    def _read(self) -> None:
        """One datagram of each socket that has some; what is left wakes us again."""
        by_fd, ears = self._by_fd, self._ears
        for fd, _ in self._poll.poll(0, _AT_ONCE) if self._poll is not None else ():
            one = by_fd.get(fd)
            if one is None:  # closed by what came before it
                continue
            ask = one.asking
            if ask is None:  # who speaks without being asked, or what an ICMP error says
                one.close()
                continue
            try:
                wire = one.heard()
            except BlockingIOError:
                continue
            except OSError as error:  # an ICMP error of this very socket
                self._fail(one, ask, os.strerror(error.errno or 0))
                continue
            if one.guesses > _MAX_GUESSES:
                self._fail(one, ask, "too many wrong answers")
                continue
            one.answering = True
            try:
                ears.answer(ask, wire)
            finally:
                one.answering = False

    def _fail(self, one: UdpAsk, ask: AskId, why: str) -> None:
        one.close()
        self._ears.ask_failed(ask, why)


class UdpAsk:
    """One socket, and the question it asks now."""

    __slots__ = (
        "_gone", "_recv", "_send", "_sock", "answering", "asking", "born", "fd", "guesses",
        "questions",
    )  # fmt: skip

    def __init__(
        self, now: float, target: Endpoint, own: Own, gone: Callable[[int], None] = lambda fd: None
    ) -> None:
        """OSError when the host would not even send to this target."""
        self.asking: AskId | None = None
        self.guesses = 0  # datagrams heard for this question
        self.answering = False  # one of them is being looked at
        self.questions = 0
        self.born = now
        self._gone = gone
        self._sock = fresh(socket.SOCK_DGRAM, target, own)
        try:
            self._sock.connect(target.sockaddr)
        except BaseException:
            self._sock.close()
            raise
        self.fd = self._sock.fileno()
        self._send, self._recv = self._sock.send, self._sock.recv_into

    def ask(self, effect: Ask) -> None:
        """Send it. OSError when it cannot leave; the socket is closed then."""
        self.asking = effect[0]
        self.guesses = 0
        self.questions += 1
        try:
            self._send(effect[3])
        except BaseException:
            self.close()
            raise

    def heard(self) -> bytes:
        """The next datagram; OSError where there is none."""
        size = self._recv(_BUFFER)
        self.guesses += 1
        return bytes(_VIEW[:size])

    def rest(self, now: float) -> bool:
        """Whether the question came to its end by the first thing that was heard; it waits for
        another one then.
        """
        self.asking = None
        return (
            self.answering
            and self.guesses == 1
            and self.fd >= 0
            and self.questions < QUESTIONS
            and now - self.born < LIFE
        )

    def usable(self, now: float) -> bool:
        """Whether it may ask once more: it has heard nothing unasked for, and is young."""
        return self.fd >= 0 and self.questions < QUESTIONS and now - self.born < LIFE

    def close(self) -> None:
        if self.fd >= 0:
            self._gone(self.fd)
            self.fd = -1
            self._sock.close()


_BUFFER = bytearray(_LONGEST_ANSWER)  # of all: what was read is copied before the next read
_VIEW = memoryview(_BUFFER)
