"""One question a socket at a time: the details that `test_upstream` does not show."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from dnslib import DNSRecord

from dnsfw.engine.effects import Ask, AskId, Transport
from dnsfw.model import Nanos
from dnsfw.server import asks
from dnsfw.server.address import Endpoint, parse_endpoint
from dnsfw.server.asks import QUESTIONS, UdpAsk, UdpCarrier
from dnsfw.wire.codes import A
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query
from tests.support.nanodns import NanoDns, answer, drop, lie_then_answer
from tests.support.until import until


class Asker:
    """As the engine does: the `good`th datagram ends its question."""

    def __init__(self, target: Endpoint, good: int = 1) -> None:
        self.carrier = UdpCarrier(asyncio.get_running_loop(), target, mark, self)
        self.heard: list[AskId] = []
        self.failed: list[AskId] = []
        self._good = good

    def answer(self, ask: AskId, wire: bytes) -> None:
        self.heard.append(ask)
        if self.heard.count(ask) == self._good:
            self.carrier.forget(ask)

    def ask_failed(self, ask: AskId, why: str) -> None:
        self.failed.append(ask)
        self.carrier.forget(ask)

    async def ask(self, number: int) -> None:
        """One question, and what comes of it."""
        before = len(self.heard) + len(self.failed)
        self.carrier.ask(ask(number))
        await until(lambda: len(self.heard) + len(self.failed) >= before + self._good)


def ask(number: int) -> Ask:
    wire = write_query(4711, from_text("www.example.com"), A)
    return Ask(AskId(number), 0, Transport.UDP, wire, Nanos(1))


def answer_and_a_late_one(
    server: NanoDns, query: DNSRecord, transport: str
) -> Iterator[tuple[float, bytes]]:
    yield from answer(server, query, transport)
    yield 0.02, b"late, or forged"


def ports(dns: NanoDns) -> list[int]:
    return [peer[1] for peer in dns.peers]


def mark(fd: int) -> None:
    """Nothing to mark without a kernel."""


async def test_closing_twice_is_closing_once() -> None:
    async with NanoDns() as dns:
        dns.script(drop)
        one = UdpAsk(0.0, dns.endpoint, mark)

        one.close()
        one.close()


async def test_row_82_path_mtu_lies_do_not_change_what_is_sent() -> None:
    async with NanoDns() as dns:
        dns.script(drop)
        one = UdpAsk(0.0, dns.endpoint, mark)

        assert one._sock.getsockopt(socket.IPPROTO_IP, 10) == 5  # IP_PMTUDISC_OMIT
        one.close()


async def test_a_socket_that_cannot_connect_is_closed() -> None:
    held: list[int] = []
    nowhere = parse_endpoint("255.255.255.255:53")  # a broadcast needs SO_BROADCAST

    with pytest.raises(OSError):
        UdpAsk(0.0, nowhere, held.append)

    with pytest.raises(OSError):
        socket.socket(fileno=socket.dup(held[0])).getsockname()


async def test_row_78_a_port_asks_a_few_questions_and_no_more() -> None:
    async with NanoDns() as dns:
        one = Asker(dns.endpoint)
        for number in range(2 * QUESTIONS + 1):
            await one.ask(number)

        assert [ports(dns).count(port) for port in dict.fromkeys(ports(dns))] == [
            QUESTIONS, QUESTIONS, 1,
        ]
        assert one.carrier.ways.opened == 3
        one.carrier.close()


async def test_row_78_questions_at_one_time_never_share_a_port() -> None:
    async with NanoDns() as dns:
        one = Asker(dns.endpoint)
        for number in range(20):
            one.carrier.ask(ask(number))
        await until(lambda: len(one.heard) == 20)
        dns.peers.clear()
        for number in range(20, 40):
            one.carrier.ask(ask(number))
        await until(lambda: len(one.heard) == 40)

        assert len(set(ports(dns))) == 20
        assert one.carrier.ways.opened == 20
        one.carrier.close()


async def test_row_78_a_port_is_open_for_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asks, "LIFE", 0.0)
    async with NanoDns() as dns:
        one = Asker(dns.endpoint)
        for number in range(3):
            await one.ask(number)

        assert len(set(ports(dns))) == 3
        one.carrier.close()


async def test_row_78_a_port_that_heard_a_forger_asks_nothing_more() -> None:
    async with NanoDns() as dns:
        one = Asker(dns.endpoint, good=2)
        dns.script(lie_then_answer(1))
        await one.ask(1)
        one.carrier.ask(ask(2))
        await until(lambda: len(dns.peers) == 2)

        assert len(set(ports(dns))) == 2
        one.carrier.close()


async def test_row_78_a_port_that_hears_something_unasked_asks_nothing_more() -> None:
    async with NanoDns() as dns:
        one = Asker(dns.endpoint)
        dns.script(answer_and_a_late_one)
        await one.ask(1)
        await asyncio.sleep(0.05)
        await one.ask(2)

        assert one.heard == [1, 2]
        assert len(set(ports(dns))) == 2
        one.carrier.close()


async def test_row_78_a_question_given_up_takes_its_port_along() -> None:
    """The answer may still come: it must not meet another question."""
    async with NanoDns() as dns:
        one = Asker(dns.endpoint)
        dns.script(drop)
        one.carrier.ask(ask(1))
        await until(lambda: dns.peers)
        one.carrier.forget(AskId(1))
        await one.ask(2)

        assert len(set(ports(dns))) == 2
        one.carrier.close()


async def test_ports_that_rest_are_closed_by_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    async with NanoDns() as dns:
        one = Asker(dns.endpoint)
        await one.ask(1)
        one.carrier.sweep(Nanos(0))
        assert one.carrier.ways.open == 1
        monkeypatch.setattr(asks, "LIFE", 0.0)
        one.carrier.sweep(Nanos(0))

        assert one.carrier.ways.open == 0
