"""The older tool's enrolment socket, spoken to as its clients do."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dnsfw.errors import ConfigError
from dnsfw.server import enroll_socket
from dnsfw.server.enroll_socket import EnrollSocket
from dnsfw.server.enrollments import Done
from dnsfw.server.faults import Faults

# What its examples do: connect, one line, one answer.
CLIENT = """
import json, os, socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
sock.connect(sys.argv[1])
request = {"Enroll": {"pod_id": 1, "role_id": int(sys.argv[2])}}
sock.send((json.dumps(request) + "\\n").encode())
print(os.getpid(), sock.recv(4096).decode())
"""


class Enrolling:
    """Knows the roles 3 and `web`."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int | str]] = []

    async def enroll_number(self, pid: int, role: int | str) -> Done:
        self.asked.append((pid, role))
        if role not in (3, "web"):
            raise ConfigError(f"there is no role {role}")
        return Done("web", "/x", (pid, pid + 1), 0, 0, ())


@asynccontextmanager
async def listening(tmp_path: Path) -> AsyncIterator[tuple[Path, Enrolling]]:
    enrolling = Enrolling()
    path = tmp_path / "made" / "enrollment.sock"
    served = EnrollSocket(path, enrolling, Faults(print))  # type: ignore[arg-type]
    await served.start()
    try:
        yield path, enrolling
    finally:
        await served.close()


async def talk(path: Path, *lines: bytes) -> list[Any]:
    """The answer to each line; fewer when it hangs up."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    answers = []
    try:
        for line in lines:
            writer.write(line)
            async with asyncio.timeout(5):
                if answer := await reader.readline():
                    answers.append(json.loads(answer))
    except ConnectionError:
        pass
    finally:
        writer.close()
    return answers


def enroll(role: object, pod: object = 1) -> bytes:
    return json.dumps({"Enroll": {"pod_id": pod, "role_id": role}}).encode() + b"\n"


async def test_a_client_of_the_older_tool_enrols_itself(tmp_path: Path) -> None:
    async with listening(tmp_path) as (path, enrolling):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, str(path), "3", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()

    pid, answer = out.decode().split()
    assert json.loads(answer) == "Success"
    assert enrolling.asked == [(int(pid), 3)]


async def test_several_requests_over_one_connection(tmp_path: Path) -> None:
    query = json.dumps({"Query": {"pid": os.getpid()}}).encode() + b"\n"
    async with listening(tmp_path) as (path, _):
        answers = await talk(path, query, enroll("web", pod=5), query, enroll(9))

    assert answers == [
        {"Error": "Process not found or not enrolled"},
        "Success",
        {"ProcessInfo": {"pod_id": 5, "role_id": "web"}},
        {"Error": "there is no role 9"},
    ]


@pytest.mark.parametrize(
    "line",
    [b"x\n", b"[]\n", b"{}\n", b'{"Enroll": 7}\n', b'{"Enroll": {}}\n', b'{"Drop": {}}\n',
     enroll(True), enroll(None), enroll(3.5), enroll(3, pod="x"), b"[" * 3000 + b"\n",
     b'{"Query": {"pid": []}}\n', b"\xff\n"],
    ids=lambda line: line[:30].decode(errors="replace"),
)  # fmt: skip
async def test_nonsense_enrols_nobody(tmp_path: Path, line: bytes) -> None:
    async with listening(tmp_path) as (path, enrolling):
        (answer,) = await talk(path, line)

    assert "Error" in answer and enrolling.asked == []


async def test_a_line_without_end_is_hung_up_on(tmp_path: Path) -> None:
    async with listening(tmp_path) as (path, _):
        assert await talk(path, b"x" * 9000) == []
        assert await talk(path, enroll(3)) == ["Success"]


async def test_more_connections_than_agreed_are_hung_up_on(tmp_path: Path) -> None:
    async with listening(tmp_path) as (path, _):
        idle = [await asyncio.open_unix_connection(str(path)) for _ in range(16)]
        for _ in range(100):
            await asyncio.sleep(0)  # the loop takes them all

        assert await talk(path, enroll(3)) == []
        for _, writer in idle:
            writer.close()


@pytest.mark.needs_root
async def test_only_root_may_choose_its_role(tmp_path: Path) -> None:
    async with listening(tmp_path) as (path, enrolling):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o666)  # even then
        for parent in (path.parent, *path.parents[:4]):
            parent.chmod(parent.stat().st_mode | 0o011)
        done = await asyncio.to_thread(
            subprocess.run,
            ["setpriv", "--reuid=65534", "--clear-groups", "--", "/usr/bin/python3", "-c", CLIENT,
             str(path), "3"],
            capture_output=True, text=True,
        )  # fmt: skip

    assert "only root may choose its role" in done.stdout
    assert enrolling.asked == []


async def test_who_has_ended_is_not_taken_for_who_has_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child connects, hands the connection to us, and ends; then it speaks."""
    ours, theirs = socket.socketpair()
    async with listening(tmp_path) as (path, enrolling):
        if (pid := os.fork()) == 0:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(path))
            socket.send_fds(theirs, [b"x"], [sock.fileno()])
            os._exit(0)
        _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it ends at once
        with socket.socket(fileno=fd) as left:
            left.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(left, enroll(3))
            answer = json.loads(await loop.sock_recv(left, 4096))

    assert "has ended" in answer["Error"] or "no process" in answer["Error"]
    assert enrolling.asked == []


async def test_a_path_that_cannot_be_had_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    served = EnrollSocket(tmp_path / "file" / "x", Enrolling(), Faults(print))  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="choose another --enroll-socket"):
        await served.start()


async def test_what_is_remembered_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer of this helper names two processes; one is remembered."""
    monkeypatch.setattr(enroll_socket, "_MOST_REMEMBERED", 1)
    queries = [json.dumps({"Query": {"pid": os.getpid() + n}}).encode() + b"\n" for n in (0, 1)]
    async with listening(tmp_path) as (path, _):
        answers = await talk(path, enroll(3), *queries)

    assert answers[0] == "Success"
    assert "Error" in answers[1] and "ProcessInfo" in answers[2]
