"""Connecting starts no thread, on either loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dnsfw.server.connecting import connect

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
try:
    from uvloop import new_event_loop
except ImportError:
    pass
else:
    LOOPS.append(new_event_loop)


def threads() -> set[str]:
    return {path.name for path in Path("/proc/self/task").iterdir()}


@pytest.mark.parametrize("factory", LOOPS)
def test_a_connection_stands_and_no_thread_was_started(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def whole() -> set[str]:
        loop = asyncio.get_running_loop()
        before = threads()
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
            sock.setblocking(False)
            await connect(loop, sock, server.getsockname())
            assert sock.getpeername() == server.getsockname()
        return threads() - before

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(whole()) == set()


@pytest.mark.parametrize("factory", LOOPS)
def test_a_refusal_is_an_error(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        where = free.getsockname()

    async def whole() -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            await connect(asyncio.get_running_loop(), sock, where)

    with asyncio.Runner(loop_factory=factory) as runner, pytest.raises(ConnectionRefusedError):
        runner.run(whole())
