"""How a download connects: as the daemon, marked before it connects, and as any program."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dnsfw.errors import DatapathError
from dnsfw.server.address import plain
from dnsfw.server.clock import boot_now
from dnsfw.server.fetch import FetchError
from dnsfw.server.fetch_names import Names
from dnsfw.server.fetch_ways import AnyWay, OwnWay
from tests.support.nanodns import NanoDns


async def test_the_daemons_socket_is_marked_before_it_connects() -> None:
    states: list[tuple[int, bool]] = []

    def own(fd: int) -> None:
        sock = socket.socket(fileno=fd)
        try:
            connected = True
            try:
                sock.getpeername()
            except OSError:
                connected = False
            states.append((sock.type, connected))
        finally:
            sock.detach()

    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with NanoDns() as dns:
            dns.zone["lists.example", "A"] = ["127.0.0.2", "127.0.0.1"]
            way = OwnWay(loop, Names(loop, [plain(dns.endpoint)], own, boot_now), own)
            port = server.getsockname()[1]

            sock = await asyncio.to_thread(way.connect, "lists.example", port, 3.0)

        with sock:
            assert sock.getpeername() == ("127.0.0.1", port), "the second address, too"
            assert sock.getblocking()
    assert len(states) == 4
    assert not any(connected for _, connected in states)


async def test_a_kernel_that_marks_nothing_stops_the_download() -> None:
    def own(fd: int) -> None:
        raise DatapathError("no room")

    loop = asyncio.get_running_loop()
    way = OwnWay(loop, Names(loop, [], own, boot_now), own)

    with pytest.raises(FetchError, match="no room"):
        await asyncio.to_thread(way.connect, "127.0.0.1", 9, 1.0)


async def test_what_nobody_listens_on_is_refused() -> None:
    loop = asyncio.get_running_loop()
    way = OwnWay(loop, Names(loop, [], lambda fd: None, boot_now), lambda fd: None)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(way.connect, "127.0.0.1", port, 3.0)


def test_a_program_connects_by_the_hosts_own_resolver() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        AnyWay().connect("localhost", server.getsockname()[1], 3.0).close()

    with pytest.raises(FetchError, match=r"nobody\.invalid"):
        AnyWay().connect("nobody.invalid", 9, 3.0)
