"""One question, one socket: the details that `test_upstream` does not show."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dnsfw.engine.effects import Ask, AskId, Transport
from dnsfw.model import Nanos
from dnsfw.server.address import parse_endpoint
from dnsfw.server.asks import UdpAsk
from tests.support.nanodns import NanoDns, drop


class Deaf:
    def answer(self, ask: AskId, wire: bytes) -> None: ...

    def ask_failed(self, ask: AskId, why: str) -> None: ...


def ask(transport: Transport) -> Ask:
    return Ask(AskId(1), 0, transport, b"q" * 20, Nanos(1))


def mark(fd: int) -> None:
    """Nothing to mark without a kernel."""


async def test_closing_twice_is_closing_once() -> None:
    async with NanoDns() as dns:
        dns.script(drop)
        one = UdpAsk(asyncio.get_running_loop(), dns.endpoint, mark, Deaf(), ask(Transport.UDP))

        one.close()
        one.close()


async def test_row_82_path_mtu_lies_do_not_change_what_is_sent() -> None:
    async with NanoDns() as dns:
        dns.script(drop)
        one = UdpAsk(asyncio.get_running_loop(), dns.endpoint, mark, Deaf(), ask(Transport.UDP))

        assert one._sock.getsockopt(socket.IPPROTO_IP, 10) == 5  # IP_PMTUDISC_OMIT
        one.close()


async def test_a_socket_that_cannot_connect_is_closed() -> None:
    held: list[int] = []
    nowhere = parse_endpoint("255.255.255.255:53")  # a broadcast needs SO_BROADCAST

    with pytest.raises(OSError):
        UdpAsk(asyncio.get_running_loop(), nowhere, held.append, Deaf(), ask(Transport.UDP))

    with pytest.raises(OSError):
        socket.socket(fileno=socket.dup(held[0])).getsockname()
