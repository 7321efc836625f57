"""Upstream sockets: fresh, connected, marked, bounded, and honest about failures."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dnsfw.engine.effects import Ask, AskId, Transport
from dnsfw.errors import DatapathError
from dnsfw.model import Nanos
from dnsfw.server.address import Endpoint, parse_endpoint, plain
from dnsfw.server.upstream import Upstreams
from dnsfw.wire.codes import A
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query
from tests.support.nanodns import NanoDns, drop, garbage, lie_then_answer
from tests.support.until import until

LATER = Nanos(1 << 62)


class Heard:
    """Ears that remember."""

    def __init__(self) -> None:
        self.answers: list[tuple[AskId, bytes]] = []
        self.failures: list[tuple[AskId, str]] = []

    def answer(self, ask: AskId, wire: bytes) -> None:
        self.answers.append((ask, wire))

    def ask_failed(self, ask: AskId, why: str) -> None:
        self.failures.append((ask, why))

    async def something(self, count: int = 1) -> None:
        await until(lambda: len(self.answers) + len(self.failures) >= count)


def ask(number: int = 1, transport: Transport = Transport.UDP, until: Nanos = LATER) -> Ask:
    wire = write_query(4711, from_text("www.example.com"), A)
    return Ask(AskId(number), 0, transport, wire, until)


@asynccontextmanager
async def asking(
    target: Endpoint, max_asks: int = 100
) -> AsyncIterator[tuple[Upstreams, Heard, list[int]]]:
    heard, marked = Heard(), []
    asks = Upstreams(asyncio.get_running_loop(), [plain(target)], marked.append, heard, max_asks)
    try:
        yield asks, heard, marked
    finally:
        asks.close()


@pytest.mark.parametrize("transport", list(Transport))
async def test_a_question_is_answered(transport: Transport) -> None:
    async with NanoDns() as dns, asking(dns.endpoint) as (asks, heard, _):
        dns.zone["www.example.com", "A"] = ["192.0.2.7"]
        asks.ask(ask(transport=transport))
        await heard.something()

    assert heard.answers[0][0] == 1
    assert bytes([192, 0, 2, 7]) in heard.answers[0][1]
    assert dns.heard == [("www.example.com", "A", transport.value)]


async def test_row_78_every_question_has_a_socket_of_its_own() -> None:
    async with NanoDns() as dns, asking(dns.endpoint) as (asks, heard, _):
        for number in range(20):
            asks.ask(ask(number))
        await heard.something(20)

    assert len({peer[1] for peer in dns.peers}) == 20


@pytest.mark.parametrize("transport", list(Transport))
async def test_row_61_the_socket_is_marked_before_it_connects(transport: Transport) -> None:
    connected: list[bool] = []

    def mark(fd: int) -> None:
        with socket.socket(fileno=socket.dup(fd)) as sock:
            try:
                sock.getpeername()
            except OSError:
                connected.append(False)
            else:
                connected.append(True)

    async with NanoDns() as dns:
        heard = Heard()
        asks = Upstreams(asyncio.get_running_loop(), [plain(dns.endpoint)], mark, heard)
        asks.ask(ask(transport=transport))
        await heard.something()
        asks.close()

    assert connected == [False]


async def test_a_socket_that_cannot_be_marked_asks_nobody() -> None:
    def refuse(fd: int) -> None:
        raise DatapathError("no such map")

    async with NanoDns() as dns:
        heard = Heard()
        asks = Upstreams(asyncio.get_running_loop(), [plain(dns.endpoint)], refuse, heard)
        asks.ask(ask())

        assert heard.failures == [(1, "no such map")]
        assert dns.heard == []
        assert len(asks) == 0


async def test_row_78_another_port_of_the_same_host_is_not_heard() -> None:
    async with NanoDns() as dns, asking(dns.endpoint) as (asks, heard, _):
        dns.script(drop)
        asks.ask(ask())
        await until(lambda: dns.peers)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
            forger.sendto(b"forged" * 5, dns.peers[0])
        await asyncio.sleep(0.05)

        assert not heard.answers


async def test_row_80_everything_that_arrives_is_handed_on_until_it_is_forgotten() -> None:
    async with NanoDns() as dns, asking(dns.endpoint) as (asks, heard, _):
        dns.script(lie_then_answer(3))
        asks.ask(ask())
        await heard.something(4)

        asks.forget(AskId(1))

        assert len(heard.answers) == 4
        assert len(asks) == 0


async def test_row_78_a_forger_has_a_bounded_number_of_guesses() -> None:
    async with NanoDns() as dns, asking(dns.endpoint) as (asks, heard, _):
        dns.script(lie_then_answer(500))
        asks.ask(ask())
        await until(lambda: heard.failures)

        assert heard.failures == [(1, "too many wrong answers")]
        assert len(heard.answers) == 64


@pytest.mark.parametrize("transport", list(Transport))
async def test_row_107_a_closed_port_fails_at_once(transport: Transport) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = parse_endpoint(f"127.0.0.1:{nobody.getsockname()[1]}")
    async with asking(dead) as (asks, heard, _):
        asks.ask(ask(transport=transport))
        await heard.something()

        assert heard.failures == [(1, "Connection refused")]


async def test_no_route_is_told_like_any_failure() -> None:
    async with asking(parse_endpoint("[fe80::1%lo]:53")) as (asks, heard, _):
        asks.ask(ask())
        if not heard.failures:
            await heard.something()

        assert heard.failures[0][0] == 1


async def test_an_upstream_that_hangs_up_is_told() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with asking(parse_endpoint(f"{host}:{port}")) as (asks, heard, _):
        asks.ask(ask(transport=Transport.TCP))
        await heard.something()

        assert len(heard.failures) == 1
    server.close()


async def test_garbage_is_the_engines_to_judge() -> None:
    async with NanoDns() as dns, asking(dns.endpoint) as (asks, heard, _):
        dns.script(garbage)
        asks.ask(ask())
        await heard.something()

        assert not heard.failures
        assert len(asks) == 1  # still listening


async def test_the_deadline_closes_what_nobody_forgot() -> None:
    async with NanoDns() as dns, asking(dns.endpoint) as (asks, _, _):
        dns.script(drop, drop)
        asks.ask(ask(1, until=Nanos(100)))
        asks.ask(ask(2, Transport.TCP, until=Nanos(300)))

        asks.sweep(Nanos(200))

        assert len(asks) == 1


async def test_past_the_limit_nothing_is_asked() -> None:
    async with NanoDns() as dns, asking(dns.endpoint, max_asks=2) as (asks, heard, _):
        dns.script(drop, drop)
        for number in range(3):
            asks.ask(ask(number))

        assert heard.failures == [(2, "too many questions are open")]
        assert asks.refused == 1


async def test_closing_leaves_no_socket_behind() -> None:
    async with NanoDns() as dns, asking(dns.endpoint) as (asks, heard, _):
        dns.script(drop)
        asks.ask(ask(1))
        asks.ask(ask(2, Transport.TCP))

        asks.close()

        assert len(asks) == 0
        await asyncio.sleep(0.02)
        assert not heard.answers
