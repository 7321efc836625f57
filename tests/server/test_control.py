"""The control socket: who may, what it survives."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dnsfw.errors import ConfigError, DatapathError, PolicyError
from dnsfw.server import control
from dnsfw.server.control import ADMINS, READERS, ControlServer, Peer, Row, Rows, Verb, failure
from dnsfw.server.faults import Faults
from tests.support.until import until


async def hello(request: Row) -> Row:
    return {"hello": request.get("name")}


async def rights(request: Row, peer: Peer) -> Row:
    return {"may_change": peer.may_change}


async def refuse(request: Row) -> Row:
    raise DatapathError("the host lacks it")


async def broken(request: Row) -> Row:
    raise ZeroDivisionError


async def numbers(request: Row) -> Rows:
    for number in range(3):
        yield [{"n": number}]


class Endless:
    """A stream that never ends, and knows whether it was closed."""

    closed = False

    async def __call__(self, request: Row) -> Rows:
        try:
            yield [{"first": True}]
            await asyncio.Event().wait()
        finally:
            self.closed = True


@asynccontextmanager
async def serving(
    tmp_path: Path, endless: Any = None
) -> AsyncIterator[tuple[ControlServer, Faults]]:
    faults = Faults(lambda text: None)
    server = ControlServer(
        tmp_path / "control.sock",
        {
            "hello": Verb(hello),
            "change": Verb(hello, changes=True),
            "checks": Verb(checks=rights),
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
async def test_row_132_garbage_is_refused_and_survived(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path) as (server, faults):
        (reply,) = await ask(server, line)

        assert reply["ok"] is False
        assert reply["exit"] == 2
        assert faults.count == 0
        assert (await ask(server, b'{"do": "hello"}\n'))[0]["ok"]


async def test_row_132_a_request_of_1_gb_is_cut(tmp_path: Path) -> None:
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


async def test_row_132_who_may_only_look_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks_only(monkeypatch)
    async with serving(tmp_path) as (server, _):
        (reply,) = await ask(server, b'{"do": "change"}\n')

        assert "only root" in reply["error"] and reply["exit"] == 2
        assert (await ask(server, b'{"do": "hello"}\n'))[0]["ok"]
        assert (await ask(server, b'{"do": "checks"}\n'))[0]["may_change"] is False


async def test_row_132_lookers_cannot_keep_the_operator_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as (server, _):
        with monkeypatch.context() as patch:
            looks_only(patch)
            held = [await asyncio.open_unix_connection(str(server.path)) for _ in range(200)]
            async with asyncio.timeout(5):
                await asyncio.gather(*(reader.read() for reader, _ in held[24:]))

        assert (await ask(server, b'{"do": "change"}\n'))[0]["ok"]
        for _, writer in held:
            writer.close()


async def test_row_132_10_000_connections_are_survived(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, faults):
        for _ in range(100):
            held = [await asyncio.open_unix_connection(str(server.path)) for _ in range(100)]
            for _, writer in held:
                writer.close()

        await until(lambda: not server._answering)
        assert (await ask(server, b'{"do": "hello"}\n'))[0]["ok"]
        assert faults.count == 0


async def test_row_132_a_reader_that_does_not_read_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_PATIENCE", 0.2)
    closed = asyncio.Event()

    async def flood(request: Row) -> Rows:
        try:
            while True:
                yield [{"text": "x" * 10_000}]
        finally:
            closed.set()

    async with serving(tmp_path, flood) as (server, _):
        _, writer = await asyncio.open_unix_connection(str(server.path), limit=1000)
        writer.write(b'{"do": "endless"}\n')

        async with asyncio.timeout(10):
            await closed.wait()
        writer.close()


def looks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "peer_of", lambda sock, admins: Peer(1000, may_change=False))


class Peered:
    """A socket whose peer the kernel describes like this."""

    def __init__(self, uid: int, gid: int, *groups: int) -> None:
        self._cred = struct.pack("3i", 1, uid, gid)
        self._groups = struct.pack(f"={len(groups)}I", *groups)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return self._cred if option == socket.SO_PEERCRED else self._groups


@pytest.mark.parametrize(
    ("peer", "admins", "may"),
    [
        (Peered(0, 0), None, True),
        (Peered(os.geteuid(), 99), None, True),
        (Peered(4242, 99, 98), None, False),
        (Peered(4242, 99, 98), 77, False),
        (Peered(4242, 77), 77, True),
        (Peered(4242, 99, 98, 77), 77, True),
        (Peered(4242, 0, 0), 77, False),  # the group of root is not root
    ],
)
def test_row_132_the_right_to_change_is_roots_and_the_admins(
    peer: Peered, admins: int | None, may: bool
) -> None:
    assert control.peer_of(peer, admins).may_change is may  # type: ignore[arg-type]


def test_a_group_that_is_not_there_is_nobodys() -> None:
    assert control.group_id("no-such-group-here") is None
    assert control.group_id("root") == 0


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that others can get to, but not into."""
    made = Path(tempfile.mkdtemp(prefix="dnsfw-test-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


@pytest.mark.needs_root
async def test_row_132_the_socket_is_the_groups_to_look_and_nobody_elses(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process of another uid, with and without the group."""
    ids = {READERS: 4243, ADMINS: 4244}
    monkeypatch.setattr(control, "group_id", ids.get)
    async with serving(home) as (server, _):

        async def said(groups: list[int]) -> str:
            return await asyncio.to_thread(as_other, server.path, groups, "checks")

        assert await said([]) == "EACCES"
        assert await said([4244]) == "EACCES"
        assert json.loads(await said([4243])) == {"ok": True, "may_change": False}
        assert json.loads(await said([4243, 4244])) == {"ok": True, "may_change": True}


ASK = """
import errno, os, socket, sys  # before it is somebody who cannot read them
os.setgroups([int(gid) for gid in sys.argv[3:]])
os.setgid(4242)
os.setuid(4242)
with socket.socket(socket.AF_UNIX) as sock:
    try:
        sock.connect(sys.argv[1])
    except OSError as error:
        print(errno.errorcode[error.errno])
    else:
        sock.sendall(b'{"do": "' + sys.argv[2].encode() + b'"}\\n')
        print(sock.recv(4096).decode())
"""


def as_other(path: Path, groups: list[int], do: str) -> str:
    """What somebody else is told."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", ASK, str(path), do, *map(str, groups)],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    return done.stdout.strip()


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
