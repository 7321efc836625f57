"""Questions over TCP: with their length before them (RFC 7766)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from dnsfw.engine.effects import Ask, AskId
from dnsfw.errors import WireError
from dnsfw.model import Nanos
from dnsfw.server.address import Endpoint
from dnsfw.server.carrier import Ears, Own, Ways, fresh
from dnsfw.wire.stream import Frames, frame

__all__ = ["TcpAsk", "TcpCarrier"]

_READ = 65536


class TcpCarrier:
    """Connections to one upstream."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, target: Endpoint, own: Own, ears: Ears
    ) -> None:
        self.ways = Ways()
        self._loop = loop
        self._target = target
        self._own = own
        self._ears = ears
        self._open: dict[AskId, TcpAsk] = {}

    def ask(self, effect: Ask) -> None:
        one = TcpAsk(self._loop, self._target, self._own, self._ears, effect)
        self._open[effect.ask] = one
        self.ways.opened += 1

    def forget(self, ask: AskId) -> None:
        if (one := self._open.pop(ask, None)) is not None:
            one.close()

    def sweep(self, now: Nanos) -> None:
        self.ways.open = len(self._open)

    def close(self) -> None:
        for ask in tuple(self._open):
            self.forget(ask)


class TcpAsk:
    """Connects, sends one framed query and hears framed answers until it is closed."""

    __slots__ = ("_ask", "_ears", "_frames", "_loop", "_out", "_sock")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Endpoint,
        own: Own,
        ears: Ears,
        ask: Ask,
    ) -> None:
        self._loop = loop
        self._ears = ears
        self._ask = ask.ask
        self._frames = Frames()
        self._out = frame(ask.wire)
        self._sock = fresh(socket.SOCK_STREAM, target, own)
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
