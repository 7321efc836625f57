"""The control socket: who may, what it survives."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dnsfw.errors import ConfigError, DatapathError, PolicyError
from dnsfw.server import control
from dnsfw.server.control import ControlServer, Row, Verb, failure
from dnsfw.server.faults import Faults
from tests.support.until import until


async def hello(request: Row) -> Row:
    return {"hello": request.get("name")}


async def refuse(request: Row) -> Row:
    raise DatapathError("the host lacks it")


async def broken(request: Row) -> Row:
    raise ZeroDivisionError


async def numbers(request: Row) -> AsyncGenerator[dict[str, Any], None]:
    for number in range(3):
        yield {"n": number}


class Endless:
    """A stream that never ends, and knows whether it was closed."""

    closed = False

    async def __call__(self, request: Row) -> AsyncGenerator[dict[str, Any], None]:
        try:
            yield {"first": True}
            await asyncio.Event().wait()
        finally:
            self.closed = True


@asynccontextmanager
async def serving(
    tmp_path: Path, endless: Endless | None = None
) -> AsyncIterator[tuple[ControlServer, Faults]]:
    faults = Faults(lambda text: None)
    server = ControlServer(
        tmp_path / "control.sock",
        {
            "hello": Verb(hello),
            "change": Verb(hello, changes=True),
            "refuse": Verb(refuse),
            "broken": Verb(broken),
            "numbers": Verb(rows=numbers),
            "endless": Verb(rows=endless or Endless()),
        },
        faults,
    )
    await server.start()
    try:
        yield server, faults
    finally:
        await server.close()


async def ask(server: ControlServer, line: bytes) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(str(server.path))
    writer.write(line)
    async with asyncio.timeout(5):
        data = await reader.read()
    writer.close()
    return [json.loads(reply) for reply in data.splitlines()]


async def test_a_request_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, _):
        assert await ask(server, b'{"do": "hello", "name": "x"}\n') == [{"ok": True, "hello": "x"}]


async def test_rows_come_before_the_last_line(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, _):
        assert await ask(server, b'{"do": "numbers"}\n') == [
            {"row": {"n": 0}}, {"row": {"n": 1}}, {"row": {"n": 2}}, {"ok": True},
        ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [b"garbage\n", b"[]\n", b"{}\n", b'{"do": 1}\n', b'{"do": "nothing"}\n', b"\xff\n",
     b"[" * 5000 + b"\n", b'{"do": null}\n'],
)  # fmt: skip
async def test_garbage_is_refused_and_survived(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path) as (server, faults):
        (reply,) = await ask(server, line)

        assert reply["ok"] is False
        assert reply["exit"] == 2
        assert faults.count == 0
        assert (await ask(server, b'{"do": "hello"}\n'))[0]["ok"]


async def test_a_request_without_end_is_cut(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, _):
        _, writer = await asyncio.open_unix_connection(str(server.path))
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(5):
                for _ in range(10_000):
                    writer.write(b"x" * 10_000)
                    await writer.drain()
        writer.close()
        assert (await ask(server, b'{"do": "hello"}\n'))[0]["ok"]


async def test_a_silent_client_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_PATIENCE", 0.05)
    async with serving(tmp_path) as (server, _):
        reader, _writer = await asyncio.open_unix_connection(str(server.path))
        async with asyncio.timeout(5):
            assert await reader.read() == b""


async def test_connections_are_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, _):
        held = [await asyncio.open_unix_connection(str(server.path)) for _ in range(40)]
        async with asyncio.timeout(5):
            assert await held[39][0].read() == b""
        assert not held[0][0].at_eof()


async def test_errors_carry_their_exit_code(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, _):
        (reply,) = await ask(server, b'{"do": "refuse"}\n')

        assert reply == {"ok": False, "error": "the host lacks it", "exit": 3}


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("x"), 2), (PolicyError("x"), 2), (DatapathError("x"), 3)]
)
def test_whose_fault_it_is_decides_the_exit_code(error: Exception, code: int) -> None:
    assert failure(error)["exit"] == code


async def test_a_bug_in_one_answer_is_one_lost_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, faults):
        assert await ask(server, b'{"do": "broken"}\n') == []
        assert faults.count == 1
        assert (await ask(server, b'{"do": "hello"}\n'))[0]["ok"]


async def test_who_is_not_root_may_only_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "may_change", lambda writer: False)
    async with serving(tmp_path) as (server, _):
        (reply,) = await ask(server, b'{"do": "change"}\n')

        assert "only root" in reply["error"]
        assert (await ask(server, b'{"do": "hello"}\n'))[0]["ok"]


async def test_the_kernel_says_who_asks(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, _):
        assert (await ask(server, b'{"do": "change"}\n'))[0]["ok"]  # we are the daemon's own user


async def test_others_cannot_even_connect(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, _):
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o660


async def test_a_stream_ends_when_its_reader_goes(tmp_path: Path) -> None:
    endless = Endless()
    async with serving(tmp_path, endless) as (server, _):
        reader, writer = await asyncio.open_unix_connection(str(server.path))
        writer.write(b'{"do": "endless"}\n')
        assert json.loads(await reader.readline()) == {"row": {"first": True}}

        writer.close()
        await until(lambda: endless.closed)


async def test_a_stream_ends_with_the_daemon(tmp_path: Path) -> None:
    endless = Endless()
    async with serving(tmp_path, endless) as (server, _):
        reader, writer = await asyncio.open_unix_connection(str(server.path))
        writer.write(b'{"do": "endless"}\n')
        await reader.readline()

    assert endless.closed
    assert await reader.read() == b""


async def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    async with serving(tmp_path) as (server, _):
        assert (await ask(server, b'{"do": "hello"}\n'))[0]["ok"]

    assert not server.path.exists()
