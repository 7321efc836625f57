"""Questions over UDP: a fresh connected socket for every Ask, closed by Forget or its deadline.

A fresh socket has a port of its own, chosen at random by the kernel, and a connected one
hears only its peer: a forger off the path must guess port and id for every query anew.
"""

from __future__ import annotations

import asyncio
import os
import socket

from dnsfw.engine.effects import Ask, AskId
from dnsfw.model import Nanos
from dnsfw.server.address import Endpoint
from dnsfw.server.carrier import Ears, Own, Ways, fresh

__all__ = ["UdpAsk", "UdpCarrier"]

_LONGEST_ANSWER = 65535
# Datagrams heard on one socket: a forger who found the port gets this many guesses at the
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

    def ask(self, effect: Ask) -> None:
        one = UdpAsk(self._loop, self._target, self._own, self._ears, effect)
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


class UdpAsk:
    """Sent by the constructor, which raises OSError when the host will not even send it."""

    __slots__ = ("_ask", "_ears", "_guesses", "_loop", "_sock")

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
        self._guesses = 0
        self._sock = fresh(socket.SOCK_DGRAM, target, own)
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
