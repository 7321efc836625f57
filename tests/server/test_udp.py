"""The UDP listener: who is heard, what is answered, from which address."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable

import pytest

from dnsfw.engine.effects import Client, Transport
from dnsfw.engine.replies import Replies
from dnsfw.errors import ConfigError
from dnsfw.model import HOST, NO_ROLE, Nanos, RoleId
from dnsfw.server.address import parse_endpoint
from dnsfw.server.rate import RateLimits, Rates
from dnsfw.server.udp import BATCH, BEHIND, UdpListener


def listener(address: str = "127.0.0.1") -> UdpListener:
    """On a port that the kernel picks."""
    from ipaddress import ip_address

    from dnsfw.server.address import Endpoint

    return UdpListener(Endpoint(ip_address(address), 0))


def client(address: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(2)
    return sock


async def turn() -> None:
    """Let the loop see what has arrived."""
    for _ in range(3):
        await asyncio.sleep(0)


def echo(wire: bytes, client: Client) -> None:
    client.route.send(wire[::-1])  # type: ignore[attr-defined]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_query_is_heard_and_its_reply_goes_back(address: str) -> None:
    one = listener(address)
    await one.start(asyncio.get_running_loop(), echo)
    with client(address) as sock:
        sock.sendto(b"query", (address, one.socket.getsockname()[1]))
        await turn()

        reply, peer = sock.recvfrom(100)

    assert reply == b"yreuq"
    assert peer[0] == address
    one.close()


@pytest.mark.parametrize(("bound", "asked"), [("0.0.0.0", "127.3.2.1"), ("::", "::1")])
async def test_a_wildcard_listener_answers_from_the_address_that_was_asked(
    bound: str, asked: str
) -> None:
    one = listener(bound)
    await one.start(asyncio.get_running_loop(), echo)
    with client(asked) as sock:
        sock.connect((asked, one.socket.getsockname()[1]))  # hears nobody else
        sock.send(b"query")
        await turn()

        assert sock.recv(100) == b"yreuq"
    one.close()


async def test_who_asks_is_host_over_udp() -> None:
    heard: list[Client] = []
    one = listener()
    await one.start(asyncio.get_running_loop(), lambda wire, client: heard.append(client))
    with client() as sock:
        sock.sendto(b"query", one.socket.getsockname())
        await turn()

        assert heard[0].role == HOST
        assert heard[0].transport is Transport.UDP
        assert heard[0].address == "127.0.0.1"
    one.close()


class Marks:
    """Says that every mark is the role of that number."""

    def by_mark(self, mark: int) -> RoleId:
        return RoleId(mark)

    def by_connection(self, cookie: int) -> RoleId:
        raise AssertionError("no connection here")


async def test_who_asks_is_what_the_mark_says() -> None:
    """0 where nobody marked the packet: not `host`."""
    heard: list[Client] = []
    one = listener()
    one.askers = Marks()
    await one.start(asyncio.get_running_loop(), lambda wire, client: heard.append(client))
    with client() as sock:
        sock.sendto(b"query", one.socket.getsockname())
        await turn()

    assert [c.role for c in heard] == [NO_ROLE]
    one.close()


async def test_a_socket_that_is_bound_already_is_served() -> None:
    """One of another namespace, made by the helper."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        sock.setblocking(False)
        there = socket.socket(fileno=sock.detach())
    one = UdpListener(parse_endpoint(f"[::1]:{there.getsockname()[1]}"), bound=there)
    await one.start(asyncio.get_running_loop(), echo)
    with client("::1") as sock:
        sock.sendto(b"query", there.getsockname())
        await turn()

        assert sock.recv(100) == b"yreuq"
    one.close()


def flooded(one: UdpListener, count: int, *, askers: int = 1) -> None:
    """By turns, each from an address of its own."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(client()) for _ in range(askers)]
        for number, sock in enumerate(socks):
            sock.bind((f"127.0.0.{1 + number}", 0))
        for number in range(count):
            socks[number % askers].sendto(b"q", one.socket.getsockname())


async def test_a_listener_that_keeps_up_limits_nobody() -> None:
    one, heard = listener(), []
    one.rates = Rates(lambda: 1000.0, RateLimits(least=10))
    one.on_query = lambda wire, client: heard.append(wire)
    flooded(one, BEHIND * BATCH - 1)

    for _ in range(BEHIND + 1):
        one._drain()

    assert len(heard) == BEHIND * BATCH - 1
    assert not one.rates.limiting
    one.close()


async def test_row_103_a_backlog_of_one_asker_is_thrown_away_not_queued() -> None:
    clock, heard = [1000.0], []
    one = listener()
    one.rates = Rates(lambda: clock[0], RateLimits(least=10))
    one.on_query = lambda wire, client: heard.append(wire)
    flooded(one, 4000)

    for _ in range(BEHIND + 1):  # the queue is long by now, and what can be answered is known
        one._drain()
    before = len(heard)
    for _ in range(2):
        clock[0] += one.rates.limits.window
        one._drain()
    for _ in range(3):
        one._drain()

    assert before == (BEHIND + 1) * BATCH
    assert len(heard) < before + 3 * BATCH, "a little more than was answered before"
    assert one.rates.dropped.total() > 1000
    one.close()


async def test_row_103_who_alone_fills_a_short_queue_waits_for_himself() -> None:
    one, heard = listener(), []
    one.rates = Rates(lambda: 1000.0)
    one.on_query = lambda wire, client: heard.append(wire)
    flooded(one, (BEHIND + 3) * BATCH)

    for _ in range(BEHIND + 3):
        one._drain()

    assert len(heard) == (BEHIND + 3) * BATCH
    assert not one.rates.limiting
    one.close()


async def test_row_103_a_second_asker_in_a_backlog_makes_it_everybodys() -> None:
    one = listener()
    one.rates = Rates(lambda: 1000.0)
    flooded(one, (BEHIND + 1) * BATCH)
    for _ in range(BEHIND):
        one._drain()
    assert not one.rates.limiting
    with client() as sock:
        sock.bind(("127.0.0.2", 0))
        sock.sendto(b"q", one.socket.getsockname())
    flooded(one, BATCH)

    one._drain()
    one._drain()

    assert one.rates.limiting
    one.close()


async def test_row_103_the_kernel_limits_for_as_long_as_we_do() -> None:
    clock, said = [1000.0], []
    one = listener()
    one.rates = Rates(lambda: clock[0])
    one.share = said.append
    flooded(one, BEHIND * BATCH + 1, askers=2)

    for _ in range(BEHIND + 1):
        one._drain()
    assert said == [True]
    clock[0] += one.rates.limits.hold
    one._drain()

    assert said == [True, False]
    one.close()


async def test_one_wake_up_reads_a_bounded_batch() -> None:
    heard: list[bytes] = []
    one = listener()
    with client() as sock:
        for _ in range(BATCH + 10):
            sock.sendto(b"q", one.socket.getsockname())
    one.on_query = lambda wire, client: heard.append(wire)

    one._drain()
    first = len(heard)
    one._drain()

    assert (first, len(heard)) == (BATCH, BATCH + 10)
    one.close()


async def test_the_replies_of_a_batch_go_out_together_at_its_end_and_in_order() -> None:
    one = listener()
    early: list[bool] = []
    with client() as sock:
        sock.connect(one.socket.getsockname())
        for wire in (b"1", b"2", b"3"):
            sock.send(wire)

        def answer(wire: bytes, client: Client) -> None:
            echo(wire, client)
            early.append(bool(select.select([sock], [], [], 0)[0]))

        one.on_query = answer
        one._drain()

        assert [sock.recv(100) for _ in range(3)] == [b"1", b"2", b"3"]
    assert early == [False, False, False]
    one.close()


async def test_replies_that_come_later_go_out_together_at_the_end_of_a_turn() -> None:
    one, asked = listener(), []
    await one.start(asyncio.get_running_loop(), lambda wire, client: asked.append(client))
    with client() as sock:
        sock.connect(one.socket.getsockname())
        sock.send(b"1")
        sock.send(b"2")
        await turn()
        for number, who in enumerate(asked):
            who.route.send(b"reply %d" % number)
        early = bool(select.select([sock], [], [], 0)[0])
        await turn()

        assert [sock.recv(100) for _ in range(2)] == [b"reply 0", b"reply 1"]
    assert not early
    one.close()


async def test_closing_sends_what_was_about_to_go() -> None:
    one, asked = listener(), []
    await one.start(asyncio.get_running_loop(), lambda wire, client: asked.append(client))
    with client() as sock:
        sock.connect(one.socket.getsockname())
        sock.send(b"1")
        await turn()
        asked[0].route.send(b"reply")
        one.close()

        assert sock.recv(100) == b"reply"


async def test_a_batch_that_breaks_off_still_sends_what_is_answered() -> None:
    def answer(wire: bytes, client: Client) -> None:
        echo(wire, client)
        if wire == b"2":
            raise RuntimeError("a fault of ours")

    one = listener()
    one.on_query = answer
    with client() as sock:
        sock.connect(one.socket.getsockname())
        for wire in (b"1", b"2"):
            sock.send(wire)

        with pytest.raises(RuntimeError):
            one._drain()

        assert [sock.recv(100) for _ in range(2)] == [b"1", b"2"]
    one.close()


def kept(one: UdpListener, *wires: bytes, until: int = 1) -> None:
    """Replies that the engine has made before; the clock stands at 0."""
    one.replies, one.now = Replies(8), lambda: Nanos(0)
    for wire in wires:
        one.replies.put(HOST, wire, wire + b" again", Nanos(until))


async def test_a_query_that_is_repeated_to_the_octet_is_answered_unread() -> None:
    heard: list[bytes] = []
    one = listener()
    one.on_query = lambda wire, client: heard.append(wire)
    kept(one, b"..one", b"..two")
    with client() as sock:
        sock.connect(one.socket.getsockname())
        for wire in (b"12one", b"34two", b"56One"):
            sock.send(wire)
        one._drain()

        assert [sock.recv(100) for _ in range(2)] == [b"12one again", b"34two again"]
    assert heard == [b"56One"]
    assert one.replies.hits[HOST] == 2
    one.close()


async def test_a_reply_is_kept_no_longer_than_its_ttl_stays_the_same() -> None:
    heard: list[bytes] = []
    one = listener()
    one.on_query = lambda wire, client: heard.append(wire)
    kept(one, b"..one", until=0)
    with client() as sock:
        sock.sendto(b"12one", one.socket.getsockname())
    one._drain()

    assert heard == [b"12one"]
    one.close()


async def test_repeated_and_new_queries_of_one_batch_all_get_their_own_reply() -> None:
    one = listener()
    kept(one, b"..one")
    one.on_query = echo
    with client() as sock:
        sock.connect(one.socket.getsockname())
        for wire in (b"abNEW", b"12one", b"cdNEW", b"34one"):
            sock.send(wire)
        one._drain()

        said = [sock.recv(100) for _ in range(4)]
    assert sorted(said) == sorted([b"12one again", b"34one again", b"WENba", b"WENdc"])
    one.close()


class SomeOf(Rates):
    """Two of those that come together, or of those that come one by one each third."""

    asked = 0

    def takes(self, role: RoleId, address: str, count: int = 1) -> bool:
        return False

    def admits_of(self, role: RoleId, address: str, count: int) -> int:
        self.asked += 1
        may = 2 if count > 1 else int(self.asked % 3 == 0)
        self.dropped[role] += count - may
        return may


@pytest.mark.parametrize(
    ("askers", "answered", "new"), [(1, [b"00", b"01"], []), (3, [b"02", b"08"], [b"05new"])]
)
async def test_row_103_who_may_ask_is_answered_from_what_is_kept_and_nobody_else(
    askers: int, answered: list[bytes], new: list[bytes]
) -> None:
    heard: list[bytes] = []
    one = listener()
    one.rates = SomeOf(lambda: 1000.0)
    one.rates.behind()
    one.on_query = lambda wire, client: heard.append(wire)
    kept(one, b"..one")
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(client()) for _ in range(askers)]
        for number, sock in enumerate(socks):
            sock.bind((f"127.0.0.{1 + number}", 0))
            sock.connect(one.socket.getsockname())
        for number in range(9):
            wire = b"%02d" % number + (b"new" if number == 5 else b"one")
            socks[number % askers].send(wire)
        one._drain()

        told = [socks[int(id) % askers].recv(100) for id in answered]
    assert told == [id + b"one again" for id in answered]
    assert heard == new
    assert one.rates.dropped.total() == 9 - len(answered) - len(new)
    one.close()


@pytest.mark.needs_root  # SO_MARK
async def test_row_103_of_each_role_in_a_batch_so_many_are_heard_as_may_ask() -> None:
    """What is thrown away is thrown away all at once."""
    heard: list[RoleId] = []

    class TwoEach(Rates):
        calls = 0

        def admits_of(self, role: RoleId, address: str, count: int) -> int:
            self.calls += 1
            return min(count, 2 if role == 16 else count)

    one = listener()
    one.askers = Marks()
    one.rates = rates = TwoEach(lambda: 1000.0)
    rates.behind()
    one.on_query = lambda wire, client: heard.append(client.role)
    with contextlib.ExitStack() as stack:
        for mark, count in ((16, 20), (17, 3), (16, 20)):
            sock = stack.enter_context(client())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            for _ in range(count):
                sock.sendto(b"q", one.socket.getsockname())
        one._drain()

    assert heard == [16, 16, 17, 17, 17]
    assert rates.calls == 2
    one.close()


async def test_without_the_batch_calls_it_hears_and_answers_all_the_same() -> None:
    one = listener()
    one._batch = None
    one.on_query = echo
    flooded(one, BATCH + 10)
    with client() as sock:
        sock.connect(one.socket.getsockname())
        sock.send(b"query")
        one._drain()
        one._drain()

        assert sock.recv(100) == b"yreuq"
    one.close()


async def test_an_oversized_query_is_dropped_and_counted() -> None:
    heard: list[bytes] = []
    one = listener()
    await one.start(asyncio.get_running_loop(), lambda wire, client: heard.append(wire))
    with client() as sock:
        sock.sendto(b"q" * 5000, one.socket.getsockname())
        sock.sendto(b"good", one.socket.getsockname())
        await turn()

    assert heard == [b"good"]
    assert one.truncated == 1
    one.close()


async def test_a_reply_nobody_takes_is_dropped_not_queued() -> None:
    one = listener()

    one.send(b"reply", ("127.0.0.1", 0), None)  # no such port: EINVAL

    assert one.unsent == 1
    one.close()


@pytest.mark.parametrize(
    "option", [None, socket.SO_REUSEADDR, socket.SO_REUSEPORT], ids=["plain", "addr", "port"]
)
def test_row_83_a_taken_port_is_an_error_even_where_the_other_would_share(
    option: int | None,
) -> None:
    with client() as other:
        if option is not None:
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        other.bind(("127.0.0.1", 0))
        host, port = other.getsockname()

        with pytest.raises(ConfigError, match="ss -lnp"):
            UdpListener(parse_endpoint(f"{host}:{port}"))


@pytest.mark.parametrize("option", [socket.SO_REUSEADDR, socket.SO_REUSEPORT])
async def test_row_83_nobody_can_share_our_port_later(option: int) -> None:
    one = listener()
    with client() as other:
        other.setsockopt(socket.SOL_SOCKET, option, 1)

        with pytest.raises(OSError):
            other.bind(one.socket.getsockname())
    one.close()


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:5300.*no such address"):
        UdpListener(parse_endpoint("192.0.2.1:5300"))


async def test_a_batch_is_heard_together_and_what_is_left_waits_for_its_end() -> None:
    one, done = listener(), list[str]()
    ends: list[Callable[[], None]] = []

    def together(hear: Callable[[], None]) -> None:
        done.append("begin")
        hear()
        done.append("end")

    def at_end(act: Callable[[], None]) -> bool:
        ends.append(act)
        return True

    one.together, one.at_end = together, at_end
    asked: list[Client] = []

    def hear(wire: bytes, client: Client) -> None:
        done.append(wire.decode())
        asked.append(client)

    await one.start(asyncio.get_running_loop(), hear)
    with client() as sock:
        sock.connect(one.socket.getsockname())
        for wire in (b"1", b"2"):
            sock.send(wire)
        one._drain()
        for who in asked:
            who.route.send(b"reply")

        assert not select.select([sock], [], [], 0)[0] and len(ends) == 1
        ends[0]()
        assert [sock.recv(100) for _ in asked] == [b"reply"] * 2
    assert done == ["begin", "1", "2", "end"]
    one.close()
