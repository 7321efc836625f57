"""One question to one upstream, as a socket: UDP, or TCP with its length prefix."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Protocol

from dnsfw.engine.effects import Ask, AskId
from dnsfw.errors import WireError
from dnsfw.server.address import Endpoint
from dnsfw.wire.stream import Frames, frame

__all__ = ["Ears", "TcpAsk", "UdpAsk"]

_LONGEST_ANSWER = 65535
# Datagrams heard on one socket: a forger who found the port gets this many guesses at the
# id, then the question is asked again from another port (the idea of Unbound's
# unwanted-reply-threshold).
_MAX_GUESSES = 64
_READ = 65536

_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_OMIT = 5  # a forged "fragmentation needed" must not change what we send


class Ears(Protocol):
    """Who is told what came back."""

    def answer(self, ask: AskId, wire: bytes) -> None: ...

    def ask_failed(self, ask: AskId, why: str) -> None: ...


def _fresh(kind: socket.SocketKind, target: Endpoint, own: Callable[[int], None]) -> socket.socket:
    """An unconnected socket that the hooks know as the daemon's."""
    sock = socket.socket(target.family, kind | socket.SOCK_NONBLOCK)
    try:
        own(sock.fileno())
        if target.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_OMIT)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_OMIT)
    except BaseException:
        sock.close()
        raise
    return sock


class UdpAsk:
    """Sent by the constructor, which raises OSError when the host will not even send it."""

    __slots__ = ("_ask", "_ears", "_guesses", "_loop", "_sock", "deadline")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Endpoint,
        own: Callable[[int], None],
        ears: Ears,
        ask: Ask,
    ) -> None:
        self.deadline = ask.deadline
        self._loop = loop
        self._ears = ears
        self._ask = ask.ask
        self._guesses = 0
        self._sock = _fresh(socket.SOCK_DGRAM, target, own)
        try:
            self._sock.connect(target.sockaddr)
            self._sock.send(ask.wire)
        except BaseException:
            self._sock.close()
            raise
        loop.add_reader(self._sock.fileno(), self._read)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _read(self) -> None:
        while self._sock.fileno() >= 0:  # an answer closes it
            try:
                wire = self._sock.recv(_LONGEST_ANSWER)
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error of this very socket
                self._fail(os.strerror(error.errno or 0))
                return
            self._guesses += 1
            if self._guesses > _MAX_GUESSES:
                self._fail("too many wrong answers")
                return
            self._ears.answer(self._ask, wire)

    def _fail(self, why: str) -> None:
        self.close()
        self._ears.ask_failed(self._ask, why)


class TcpAsk:
    """Connects, sends one framed query and hears framed answers until it is closed."""

    __slots__ = ("_ask", "_ears", "_frames", "_loop", "_out", "_sock", "deadline")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Endpoint,
        own: Callable[[int], None],
        ears: Ears,
        ask: Ask,
    ) -> None:
        self.deadline = ask.deadline
        self._loop = loop
        self._ears = ears
        self._ask = ask.ask
        self._frames = Frames()
        self._out = frame(ask.wire)
        self._sock = _fresh(socket.SOCK_STREAM, target, own)
        code = self._sock.connect_ex(target.sockaddr)
        if code not in {0, errno.EINPROGRESS}:
            self._sock.close()
            raise OSError(code, os.strerror(code))
        loop.add_writer(self._sock.fileno(), self._write)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_writer(self._sock.fileno())
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _write(self) -> None:
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(os.strerror(code))
            return
        try:
            self._out = self._out[self._sock.send(self._out) :]
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(os.strerror(error.errno or 0))
            return
        if not self._out:
            self._loop.remove_writer(self._sock.fileno())
            self._loop.add_reader(self._sock.fileno(), self._read)

    def _read(self) -> None:
        try:
            data = self._sock.recv(_READ)
            messages = self._frames.feed(data)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(os.strerror(error.errno or 0))
            return
        except WireError as error:
            self._fail(str(error))
            return
        if not data:
            self._fail("the upstream closed the connection")
        for wire in messages:
            self._ears.answer(self._ask, wire)

    def _fail(self, why: str) -> None:
        self.close()  # a level-triggered loop would say it for ever
        self._ears.ask_failed(self._ask, why)
