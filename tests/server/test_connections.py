"""Connections that stay open, over TCP and TLS: reused, replaced, bounded, and proven."""

from __future__ import annotations

import asyncio
import ssl
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from dnsfw.engine.effects import Ask, AskId, Transport
from dnsfw.model import SECOND, Nanos
from dnsfw.policy.upstream import Upstream, parse_url
from dnsfw.server.address import Endpoint, parse_endpoint
from dnsfw.server.connections import Connections
from dnsfw.server.upstream import Upstreams
from dnsfw.wire.codes import A
from dnsfw.wire.message import echoes
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query
from tests.support.certs import NAME, Ca, Pair
from tests.support.nanodns import NanoDns, delay, drop
from tests.support.until import until

LATER = Nanos(1 << 62)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Heard:
    """Ears that remember, and tell that they have what they wanted, as the engine does."""

    def __init__(self) -> None:
        self.answers: dict[AskId, bytes] = {}
        self.failures: list[tuple[AskId, str]] = []
        self.asked: dict[AskId, bytes] = {}
        self.asks: Upstreams | None = None

    def answer(self, ask: AskId, wire: bytes) -> None:
        if echoes(wire, self.asked[ask]):
            self.answers[ask] = wire
            assert self.asks is not None
            self.asks.forget(ask)

    def ask_failed(self, ask: AskId, why: str) -> None:
        self.failures.append((ask, why))
        assert self.asks is not None
        self.asks.forget(ask)

    def ask(self, number: int = 1, name: str = "www.example.com", *, id_: int = 4711) -> None:
        wire = write_query(id_, from_text(name), A)
        self.asked[AskId(number)] = wire
        assert self.asks is not None
        self.asks.ask(Ask(AskId(number), 0, Transport.TCP, wire, LATER))

    async def something(self, count: int = 1) -> None:
        await until(lambda: len(self.answers) + len(self.failures) >= count)

    @property
    def carrier(self) -> Connections:
        assert self.asks is not None
        (found,) = [c for c in self.asks.carriers(0) if isinstance(c, Connections)]
        return found


def tcp(endpoint: Endpoint) -> Upstream:
    return parse_url(f"tcp://{endpoint}")


def tls(endpoint: Endpoint, ca: Ca, name: str = NAME) -> Upstream:
    return replace(parse_url(f"tls://{endpoint}#{name}"), ca=str(ca.file))


@asynccontextmanager
async def asking(upstream: Upstream) -> AsyncIterator[Heard]:
    heard = Heard()
    loop = asyncio.get_running_loop()
    heard.asks = Upstreams(loop, [upstream], lambda fd: None, heard)
    try:
        yield heard
    finally:
        heard.asks.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(serve: Serve, pair: Pair | None = None) -> AsyncIterator[Endpoint]:
    """A server that does what it likes with a connection."""
    context = pair.server() if pair else None
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    host, port = server.sockets[0].getsockname()
    try:
        yield parse_endpoint(f"{host}:{port}")
    finally:
        server.close()


async def read_query(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    return await reader.readexactly(length)


def framed(wire: bytes) -> bytes:
    return struct.pack("!H", len(wire)) + wire


def answer_to(wire: bytes) -> bytes:
    return wire[:2] + bytes([wire[2] | 0x80]) + wire[3:]


# reuse


async def test_many_questions_share_a_connection() -> None:
    async with NanoDns() as dns, asking(tcp(dns.endpoint)) as heard:
        for number in range(30):
            heard.ask(number, f"n{number}.example.com", id_=7)  # all with one id
        await heard.something(30)
        heard.ask(99)
        await heard.something(31)

        assert not heard.failures and len(heard.answers) == 31
        assert dns.connections == 1
        assert heard.carrier.ways.opened == 1 and heard.carrier.ways.reused == 1


async def test_row_78_ids_of_a_connection_differ_and_the_asker_sees_its_own() -> None:
    async with NanoDns() as dns, asking(tcp(dns.endpoint)) as heard:
        for number in range(20):
            heard.ask(number, id_=7)
        await heard.something(20)

        assert len({wire[:2] for wire in dns.wires}) == 20
        assert {wire[:2] for wire in heard.answers.values()} == {b"\0\7"}


async def test_answers_out_of_order_find_their_questions() -> None:
    async def backwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queries = [await read_query(reader) for _ in range(8)]
        writer.write(b"".join(framed(answer_to(wire)) for wire in reversed(queries)))

    async with serving(backwards) as where, asking(tcp(where)) as heard:
        for number in range(8):
            heard.ask(number, f"n{number}.example.com")
        await heard.something(8)

        assert len(heard.answers) == 8 and not heard.failures


async def test_an_idle_connection_is_closed_and_another_opened_when_needed() -> None:
    async with NanoDns() as dns, asking(tcp(dns.endpoint)) as heard:
        heard.ask(1)
        await heard.something(1)
        heard.carrier._links[0].used -= 30

        heard.carrier.sweep(Nanos(0))
        assert heard.carrier.ways.open == 0
        heard.ask(2)
        await heard.something(2)
        assert dns.connections == 2


async def test_edns_tcp_keepalive_says_how_long() -> None:
    """RFC 7828."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = await read_query(reader)
        assert wire[-4:] == b"\0\x0b\0\0"  # it was asked for
        writer.write(framed(answer_to(wire[:-2]) + b"\0\2\0\x0a"))
        await reader.read()

    async with serving(serve) as where, asking(tcp(where)) as heard:
        heard.ask(1)
        await until(lambda: heard.carrier._links and heard.carrier._links[0].speech.idle == 1.0)
        heard.asks.forget(AskId(1))
        heard.carrier._links[0].used -= 0.9
        heard.carrier.sweep(Nanos(0))
        assert heard.carrier.ways.open == 1
        heard.carrier._links[0].used -= 0.2
        heard.carrier.sweep(Nanos(0))
        assert heard.carrier.ways.open == 0


# servers that close, lie and stall


async def test_a_server_that_closes_with_questions_on_it_is_asked_again_once() -> None:
    met = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1
        first = met == 1
        wire = await read_query(reader)
        if not first:
            writer.write(framed(answer_to(wire)))
            await reader.read()
        writer.close()

    async with serving(serve) as where, asking(tcp(where)) as heard:
        heard.ask(1)
        await heard.something()

        assert list(heard.answers) == [1] and met == 2


@pytest.mark.parametrize("rest", [b"", b"\0", b"\0\x40half a message"])
async def test_one_that_always_closes_is_a_failure_and_no_loop(rest: bytes) -> None:
    met = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1
        await read_query(reader)
        writer.write(rest)
        await writer.drain()
        writer.close()

    async with serving(serve) as where, asking(tcp(where)) as heard:
        heard.ask(1)
        await heard.something()
        await asyncio.sleep(0.05)

        assert [ask for ask, _ in heard.failures] == [1] and met == 2
        assert "closed the connection" in heard.failures[0][1]


async def test_a_reset_in_the_middle_of_a_message_is_survived() -> None:
    met = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1
        first = met == 1
        wire = await read_query(reader)
        data = framed(answer_to(wire))
        writer.write(data[:9] if first else data)
        await writer.drain()
        if first:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: a reset
            writer.transport.abort()
        else:
            await reader.read()

    async with serving(serve) as where, asking(tcp(where)) as heard:
        heard.ask(1)
        await heard.something()

        assert list(heard.answers) == [1] and met == 2


async def test_row_80_a_length_that_cannot_be_ends_the_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_query(reader)
        writer.write(b"\0\3abc")
        await reader.read()

    async with serving(serve) as where, asking(tcp(where)) as heard:
        heard.ask(1)
        await heard.something()

        assert heard.failures == [(1, "message length is out of bounds")]


async def test_row_80_a_wrong_id_is_nobodys_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = await read_query(reader)
        forged = bytes([wire[0] ^ 0xFF]) + answer_to(wire)[1:]
        writer.write(framed(forged) + framed(answer_to(wire)))
        await reader.read()

    async with serving(serve) as where, asking(tcp(where)) as heard:
        heard.ask(1)
        await heard.something()

        assert list(heard.answers) == [1] and not heard.failures


async def test_a_connection_that_falls_silent_is_not_used_any_more() -> None:
    async with NanoDns() as dns, asking(tcp(dns.endpoint)) as heard:
        dns.script(drop)
        heard.ask(1)
        await until(lambda: dns.heard)
        heard.asks.forget(AskId(1))  # the client gave up
        heard.carrier._links[0]._asked -= 10

        heard.carrier.sweep(Nanos(0))
        heard.ask(2)
        await heard.something()
        assert list(heard.answers) == [2] and dns.connections == 2


async def test_a_question_does_not_follow_another_into_silence() -> None:
    async with NanoDns() as dns, asking(tcp(dns.endpoint)) as heard:
        dns.script(drop)
        heard.ask(1)
        await until(lambda: dns.heard)
        heard.carrier._links[0]._asked -= 1.5

        heard.ask(2)
        await heard.something()
        assert list(heard.answers) == [2] and dns.connections == 2


async def test_a_host_that_slept_begins_anew() -> None:
    async with NanoDns() as dns, asking(tcp(dns.endpoint)) as heard:
        heard.carrier.sweep(Nanos(1000 * SECOND))
        heard.ask(1)
        await heard.something()
        heard.carrier.sweep(Nanos(1001 * SECOND))
        assert heard.carrier.ways.open == 1

        heard.carrier.sweep(Nanos(1100 * SECOND))
        assert heard.carrier.ways.open == 0


async def test_a_slow_answer_does_not_hold_up_the_others() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_query(reader)
        while True:
            writer.write(framed(answer_to(await read_query(reader))))

    async with serving(serve) as where, asking(tcp(where)) as heard:
        for number in range(5):
            heard.ask(number)
        await heard.something(4)

        assert sorted(heard.answers) == [1, 2, 3, 4]


async def test_connections_are_bounded() -> None:
    async with NanoDns() as dns, asking(tcp(dns.endpoint)) as heard:
        dns.script(*[drop] * 1000)
        for number in range(1000):
            heard.ask(number)
        await until(lambda: len(dns.heard) >= 256)
        await asyncio.sleep(0.05)

        assert dns.connections == 4 and len(dns.heard) == 256


async def test_closing_leaves_nothing_and_asking_goes_on_after_it() -> None:
    async with NanoDns() as dns, asking(tcp(dns.endpoint)) as heard:
        dns.script(drop)
        heard.ask(1)
        await until(lambda: dns.heard)
        heard.asks.close()
        await asyncio.sleep(0.02)
        assert not heard.failures and heard.carrier.ways.open == 0

        heard.ask(2)
        await heard.something()
        assert list(heard.answers) == [2]


# TLS


async def test_row_81_dns_over_tls_to_a_proven_server_is_padded_and_reused(ca: Ca) -> None:
    async with NanoDns(tls=ca.good.server("dot")) as dns, asking(tls(dns.endpoint, ca)) as heard:
        for number in range(5):
            heard.ask(number)
        await heard.something(5)

        assert len(heard.answers) == 5 and dns.connections == 1
        assert {len(wire) for wire in dns.wires} == {128}
        assert {way for _, _, way in dns.heard} == {"tcp"}  # and not a byte in clear


async def test_row_81_an_address_may_be_the_name(ca: Ca) -> None:
    async with (
        NanoDns(tls=ca.good.server()) as dns,
        asking(tls(dns.endpoint, ca, "127.0.0.1")) as heard,
    ):
        heard.ask(1)
        await heard.something()

        assert list(heard.answers) == [1]


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("other_name", "mismatch"),
        ("expired", "expired"),
        ("own_word", "self-signed"),
    ],
)
async def test_row_81_an_impostor_hears_no_question(ca: Ca, which: str, says: str) -> None:
    pair: Pair = getattr(ca, which)
    async with NanoDns(tls=pair.server("dot")) as dns, asking(tls(dns.endpoint, ca)) as heard:
        heard.ask(1)
        await heard.something()
        await asyncio.sleep(0.05)

        (failure,) = heard.failures
        assert "its certificate does not prove who it is" in failure[1] and says in failure[1]
        assert dns.heard == []


async def test_row_81_a_good_certificate_of_another_ca_proves_nothing(
    ca: Ca, tmp_path_factory: pytest.TempPathFactory
) -> None:
    impostor = Ca(tmp_path_factory.mktemp("impostor"))
    async with (
        NanoDns(tls=impostor.good.server("dot")) as dns,
        asking(tls(dns.endpoint, ca)) as heard,
    ):
        heard.ask(1)
        await heard.something()

        assert "does not prove who it is" in heard.failures[0][1] and dns.heard == []


async def test_row_81_the_hosts_own_cas_are_the_default(ca: Ca) -> None:
    async with NanoDns(tls=ca.good.server()) as dns:
        async with asking(replace(tls(dns.endpoint, ca), ca="")) as heard:
            heard.ask(1)
            await heard.something()

        assert "does not prove who it is" in heard.failures[0][1] and dns.heard == []


async def test_row_81_a_plaintext_server_in_its_place_hears_no_question(ca: Ca) -> None:
    async with NanoDns() as dns, asking(tls(dns.endpoint, ca)) as heard:
        heard.ask(1)
        await heard.something()

        assert heard.failures and dns.heard == []


async def test_row_81_a_pin_comes_on_top_of_the_name(ca: Ca) -> None:
    async with NanoDns(tls=ca.good.server()) as dns:
        upstream = tls(dns.endpoint, ca)
        async with asking(replace(upstream, pins=(bytes(32), ca.pin(ca.good)))) as heard:
            heard.ask(1)
            await heard.something()
            assert list(heard.answers) == [1]
        async with asking(replace(upstream, pins=(bytes(32),))) as heard:
            before = len(dns.heard)
            heard.ask(1)
            await heard.something()
            assert "pinned" in heard.failures[0][1] and len(dns.heard) == before
        async with asking(replace(upstream, name="evil.example", pins=(ca.pin(ca.good),))) as heard:
            heard.ask(1)
            await heard.something()
            assert heard.failures  # the key alone is not enough


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_second_handshake_is_short(ca: Ca, version: ssl.TLSVersion) -> None:
    context = ca.good.server("dot")
    context.minimum_version = context.maximum_version = version
    async with NanoDns(tls=context) as dns:
        pinned = replace(tls(dns.endpoint, ca), pins=(ca.pin(ca.good),))
        async with asking(pinned) as heard:
            for number in range(3):
                heard.ask(number)
                await heard.something(number + 1)
                heard.carrier._links[0].used -= 100
                heard.carrier.sweep(Nanos(0))

            assert not heard.failures and dns.connections == 3
            assert heard.carrier.ways.resumed == 2


async def test_an_old_tls_is_refused(ca: Ca) -> None:
    context = ca.good.server()
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with NanoDns(tls=context) as dns, asking(tls(dns.endpoint, ca)) as heard:
        heard.ask(1)
        await heard.something()

        assert heard.failures and dns.heard == []


async def test_a_handshake_that_never_ends_is_given_up(
    ca: Ca, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfw.server.dial._HANDSHAKE", 0.1)

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with serving(stall) as where, asking(tls(where, ca)) as heard:
        heard.ask(1)
        await heard.something()

        assert len(heard.failures) == 1


async def test_row_61_every_connection_is_marked_before_it_connects(ca: Ca) -> None:
    import socket

    connected: list[bool] = []

    def mark(fd: int) -> None:
        with socket.socket(fileno=socket.dup(fd)) as sock:
            try:
                sock.getpeername()
            except OSError:
                connected.append(False)
            else:
                connected.append(True)

    async with NanoDns(tls=ca.good.server()) as dns:
        heard = Heard()
        loop = asyncio.get_running_loop()
        heard.asks = Upstreams(loop, [tls(dns.endpoint, ca)], mark, heard)
        heard.ask(1)
        await heard.something()
        heard.asks.close()

        assert connected == [False] and list(heard.answers) == [1]


async def test_a_slow_server_does_not_open_a_connection_for_each_question(ca: Ca) -> None:
    async with NanoDns(tls=ca.good.server()) as dns, asking(tls(dns.endpoint, ca)) as heard:
        dns.script(*[delay(0.01)] * 20)
        for number in range(20):
            heard.ask(number)
        await heard.something(20)

        assert dns.connections == 1 and not heard.failures


def test_a_pin_is_written_as_openssl_writes_it(ca: Ca) -> None:
    from dnsfw.policy.upstream import parse_pin

    assert parse_pin("sha256/" + b64encode(ca.pin(ca.good)).decode()) == ca.pin(ca.good)
