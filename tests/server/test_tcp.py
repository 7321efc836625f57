"""The TCP listener: RFC 7766, and row 102: every way to hold it busy has an end."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest

from dnsfw.engine.effects import Client, Transport
from dnsfw.errors import ConfigError
from dnsfw.model import HOST, NO_ROLE, RoleId
from dnsfw.server.address import Endpoint, parse_endpoint
from dnsfw.server.rate import RateLimits, Rates
from dnsfw.server.tcp import BATCH, BEHIND, TcpLimits, TcpListener
from tests.support.until import until

OnQuery = Callable[[bytes, Client], object]
DEFAULTS = TcpLimits()
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def query(id: int, size: int = 20) -> bytes:
    return id.to_bytes(2, "big") + bytes(size - 2)


def framed(wire: bytes) -> bytes:
    return struct.pack("!H", len(wire)) + wire


def echo(wire: bytes, client: Client) -> None:
    client.route.send(wire)  # type: ignore[attr-defined]


@asynccontextmanager
async def listening(
    on_query: OnQuery = echo, limits: TcpLimits = DEFAULTS, address: str = "127.0.0.1"
) -> AsyncIterator[TcpListener]:
    one = TcpListener(Endpoint(ip_address(address), 0), limits)
    await one.start(asyncio.get_running_loop(), on_query)
    try:
        yield one
    finally:
        one.close()


async def connect(one: TcpListener) -> Pair:
    return await asyncio.open_connection(*one.socket.getsockname()[:2])


async def receive(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(length)


async def closed(reader: asyncio.StreamReader) -> bool:
    """Does the server end this connection?"""
    async with asyncio.timeout(5):
        try:
            return not await reader.read()
        except ConnectionError:
            return True


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_query_is_answered(address: str) -> None:
    async with listening(address=address) as one:
        reader, writer = await connect(one)
        writer.write(framed(query(7)))

        assert await receive(reader) == query(7)


async def test_pipelined_queries_are_answered_in_any_order() -> None:
    waiting: list[tuple[bytes, Client]] = []

    def last_first(wire: bytes, client: Client) -> None:
        waiting.append((wire, client))
        if len(waiting) == 3:
            for held, asker in reversed(waiting):
                echo(held, asker)

    async with listening(last_first) as one:
        reader, writer = await connect(one)
        writer.write(b"".join(framed(query(id)) for id in (1, 2, 3)))

        assert [(await receive(reader))[1] for _ in range(3)] == [3, 2, 1]


async def test_a_message_may_come_in_single_bytes() -> None:
    async with listening() as one:
        reader, writer = await connect(one)
        for byte in framed(query(9)):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

        assert await receive(reader) == query(9)


async def test_row_102_a_thousand_pipelined_queries_are_all_answered() -> None:
    async with listening() as one:
        reader, writer = await connect(one)
        writer.write(b"".join(framed(query(id)) for id in range(1000)))

        ids = {int.from_bytes((await receive(reader))[:2], "big") for _ in range(1000)}

        assert ids == set(range(1000))


async def test_row_102_no_more_than_the_limit_is_outstanding() -> None:
    asked: list[tuple[bytes, Client]] = []
    async with listening(
        lambda wire, client: asked.append((wire, client)), TcpLimits(outstanding=4)
    ) as one:
        reader, writer = await connect(one)
        writer.write(b"".join(framed(query(id)) for id in range(10)))
        await receive_nothing(reader)
        assert len(asked) == 4

        echo(*asked[0])
        await receive(reader)

        assert len(asked) == 5


async def receive_nothing(reader: asyncio.StreamReader) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.read(1)


async def test_row_102_half_a_length_prefix_does_not_hold_a_connection() -> None:
    async with listening(limits=TcpLimits(idle=0.1)) as one:
        reader, writer = await connect(one)
        writer.write(b"\0")

        assert await closed(reader)
        assert not one.connections


async def test_row_102_a_byte_now_and_then_does_not_count_as_activity() -> None:
    async with listening(limits=TcpLimits(idle=0.15)) as one:
        reader, writer = await connect(one)

        async def drip() -> None:
            for byte in framed(query(1, 200)):
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)

        dripping = asyncio.ensure_future(drip())
        assert await closed(reader)
        dripping.cancel()


async def test_row_102_a_connection_has_a_total_time() -> None:
    async with listening(limits=TcpLimits(idle=10, total=0.1)) as one:
        reader, writer = await connect(one)
        writer.write(framed(query(1)))
        await receive(reader)

        one._sweep(_Later(asyncio.get_running_loop(), 0.2))  # type: ignore[arg-type]

        assert await closed(reader)


class _Later:
    """A loop whose clock is ahead."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ahead: float) -> None:
        self._loop, self._ahead = loop, ahead

    def time(self) -> float:
        return self._loop.time() + self._ahead

    def call_later(self, *args: object) -> asyncio.TimerHandle:
        return self._loop.call_later(*args)  # type: ignore[arg-type]


async def test_row_102_the_idlest_goes_when_the_table_is_full() -> None:
    async with listening(limits=TcpLimits(connections=3)) as one:
        active_reader, active_writer = await connect(one)
        active_writer.write(framed(query(1)))
        await receive(active_reader)
        silent = [await connect(one) for _ in range(5)]

        reader, writer = await connect(one)
        writer.write(framed(query(2)))

        assert await receive(reader) == query(2)
        assert len(one.connections) == 3
        assert await closed(silent[0][0])
        active_writer.write(framed(query(3)))
        assert await receive(active_reader) == query(3)


async def test_row_102_one_client_has_its_own_limit() -> None:
    async with listening(limits=TcpLimits(connections=100, per_client=2)) as one:
        silent = [await connect(one) for _ in range(5)]
        reader, writer = await connect(one)
        writer.write(framed(query(2)))
        await receive(reader)

        assert len(silent) == 5
        assert len(one.connections) == 2
        assert one.evicted == 4


async def test_row_102_a_client_that_reads_nothing_is_cut_off() -> None:
    big = bytes(12) + bytes(60_000)

    def flood(wire: bytes, client: Client) -> None:
        client.route.send(big)  # type: ignore[attr-defined]

    async with listening(flood, TcpLimits(unsent=200_000)) as one:
        reader, writer = await connect(one)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        one.connections.copy().pop().pause_writing = lambda: None  # type: ignore[method-assign]
        writer.write(b"".join(framed(query(id)) for id in range(500)))
        await writer.drain()
        await until(lambda: not one.connections)


async def test_replies_wait_while_the_client_does_not_read() -> None:
    asked = 0
    big = bytes(12) + bytes(60_000)

    def flood(wire: bytes, client: Client) -> None:
        nonlocal asked
        asked += 1
        client.route.send(big)  # type: ignore[attr-defined]

    async with listening(flood) as one:
        reader, writer = await connect(one)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"".join(framed(query(id)) for id in range(500)))
        await asyncio.sleep(0.1)
        held = asked

        reader._transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(500):
            await receive(reader)

        assert held < 500 == asked


@pytest.mark.parametrize(
    "bad",
    [framed(b"short"), framed(b"\0\0\x80\0" + bytes(8)), b"\0\0"],
    ids=["short", "QR", "empty"],
)
async def test_whoever_does_not_speak_dns_is_cut_off(bad: bytes) -> None:
    async with listening() as one:
        reader, writer = await connect(one)
        writer.write(bad)

        assert await closed(reader)


async def test_a_half_closed_client_still_gets_its_answers() -> None:
    held: list[tuple[bytes, Client]] = []
    async with listening(lambda wire, client: held.append((wire, client))) as one:
        reader, writer = await connect(one)
        writer.write(framed(query(1)) + framed(query(2)))
        writer.write_eof()
        await until(lambda: len(held) >= 2)
        for wire, client in held:
            echo(wire, client)

        assert await receive(reader) == query(1)
        assert await receive(reader) == query(2)
        assert await closed(reader)


async def test_a_reply_to_a_client_that_left_is_lost_quietly() -> None:
    held: list[tuple[bytes, Client]] = []
    async with listening(lambda wire, client: held.append((wire, client))) as one:
        _, writer = await connect(one)
        writer.write(framed(query(1)))
        await until(lambda: held)
        left = writer.get_extra_info("socket")
        left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
        writer.transport.abort()
        await until(lambda: not one.connections)

        echo(*held[0])


async def test_the_client_is_told_as_tcp() -> None:
    seen: list[Client] = []

    def note(wire: bytes, client: Client) -> None:
        seen.append(client)
        echo(wire, client)

    async with listening(note) as one:
        reader, writer = await connect(one)
        writer.write(framed(query(1)))
        await receive(reader)

    assert seen[0].transport is Transport.TCP
    assert seen[0].address == "127.0.0.1"


async def test_a_taken_port_is_the_operators_mistake() -> None:
    async with listening() as one:
        host, port = one.socket.getsockname()

        with pytest.raises(ConfigError, match="ss -lnp"):
            TcpListener(parse_endpoint(f"{host}:{port}"))


async def test_a_connection_that_is_over_leaves_nothing_for_the_garbage_collector() -> None:
    async with listening() as one:
        reader, writer = await connect(one)
        writer.write(framed(query(1)))
        await receive(reader)
        gone = weakref.ref(next(iter(one.connections)))
        gc.disable()
        try:
            writer.close()

            await until(lambda: gone() is None)
        finally:
            gc.enable()


class Noted:
    """The kernel's table of who speaks over which connection."""

    def __init__(self) -> None:
        self.roles: list[RoleId] = []
        self.cookies: set[int] = set()

    def by_mark(self, mark: int) -> RoleId:
        raise AssertionError("no datagram here")

    def by_connection(self, cookie: int) -> RoleId:
        self.cookies.add(cookie)
        return self.roles.pop(0) if len(self.roles) > 1 else self.roles[0]


async def test_who_asks_is_looked_up_with_the_data_by_the_sockets_cookie() -> None:
    heard: list[Client] = []
    noted = Noted()
    noted.roles = [RoleId(16), RoleId(17)]
    async with listening(lambda wire, client: (heard.append(client), echo(wire, client))) as one:
        one.askers = noted
        reader, writer = await connect(one)
        for id in (1, 2):  # `enroll` may give the client another role in between
            writer.write(framed(query(id)))
            await receive(reader)
        writer.close()

    assert [client.role for client in heard] == [RoleId(16), RoleId(17)]
    assert len(noted.cookies) == 1
    assert noted.cookies != {0}


async def test_whom_the_kernel_does_not_know_is_nobody() -> None:
    heard: list[Client] = []
    noted = Noted()
    noted.roles = [NO_ROLE]
    async with listening(lambda wire, client: (heard.append(client), echo(wire, client))) as one:
        one.askers = noted
        reader, writer = await connect(one)
        writer.write(framed(query(1)))
        await receive(reader)
        writer.close()

    assert [client.role for client in heard] == [NO_ROLE]


async def test_row_102_who_has_shown_his_role_is_not_crowded_out_by_who_has_not() -> None:
    """Everybody on a host is 127.0.0.1: silent connections of one go before another's."""
    noted = Noted()
    noted.roles = [RoleId(16)]
    limits = TcpLimits(per_client=3, connections=100)
    async with listening(limits=limits) as one:
        one.askers = noted
        reader, writer = await connect(one)
        writer.write(framed(query(1)))
        await receive(reader)
        silent = [await connect(one) for _ in range(10)]
        await until(lambda: one.evicted >= 7)

        writer.write(framed(query(2)))
        assert await receive(reader) == query(2)
        for _, other in (*silent, (reader, writer)):
            other.close()


async def test_row_103_who_asks_past_his_share_waits_and_loses_nothing() -> None:
    clock = [1000.0]
    async with listening() as one:
        one.rates = Rates(lambda: clock[0], RateLimits(least=4, hold=1e9))
        one.rates.behind()
        assert one.rates.takes(HOST, "127.0.0.1", 4)
        clock[0] += one.rates.limits.window  # four could be answered: a little more is tried
        reader, writer = await connect(one)
        for id in range(20):
            writer.write(framed(query(id)))
        for id in range(4):
            assert await receive(reader) == query(id)
        await receive_nothing(reader)

        clock[0] += one.rates.limits.window
        assert await receive(reader) == query(4)
        assert not one.rates.dropped
        writer.close()


async def test_row_103_many_connections_that_ask_at_once_make_the_listener_limit() -> None:
    async with listening() as one:
        one.rates = Rates(lambda: 1000.0)
        pairs = [await connect(one) for _ in range(BEHIND // BATCH + 1)]
        for _, writer in pairs:
            writer.write(b"".join(framed(query(id)) for id in range(BATCH)))
        await until(lambda: one.rates is not None and one.rates.limiting)
        for _, writer in pairs:
            writer.close()
