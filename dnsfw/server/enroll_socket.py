"""The enrolment socket of an older tool: `{"Enroll": {"pod_id": 1, "role_id": 3}}` a line.

It enrols who connects, and nobody else: the process that the kernel names (SO_PEERPIDFD,
before Linux 6.5 SO_PEERCRED and a pidfd that must have lived before the answer). Root only,
for a process that could choose its role could leave the one it has. The answer is a line:
`"Success"`, `{"Error": "why"}`, or `{"ProcessInfo": …}` for `{"Query": {"pid": 7}}`.
The pod is remembered for that answer, and means nothing else here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

from dnsfw.datapath.process import Process
from dnsfw.errors import ConfigError, DnsfwError
from dnsfw.server.enrollments import Enrollments
from dnsfw.server.faults import Faults

__all__ = ["EnrollSocket"]

_LONGEST = 4096  # bytes of a request
_MAX_CONNECTIONS = 16
_MOST_REMEMBERED = 4096  # processes
_PATIENCE = 10.0  # seconds to send a line, and to take one
_MODE = 0o600
_SO_PEERPIDFD = 77
_UCRED = struct.Struct("3i")


class EnrollSocket:
    """Listens on `path` until closed."""

    def __init__(self, path: Path, enrollments: Enrollments, faults: Faults) -> None:
        self.path = path
        self._enrollments = enrollments
        self._faults = faults
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[Any]] = set()
        self._known: dict[int, dict[str, Any]] = {}  # by process: pod and role, as it said them

    async def start(self) -> None:
        """ConfigError if the path cannot be had."""
        if self.path.is_socket():
            self.path.unlink()  # of one that died: two daemons never share a run directory
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o777 & ~_MODE)
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            sock.bind(str(self.path))
        except OSError as error:
            sock.close()
            raise ConfigError(
                f"cannot listen on {self.path}: {error.strerror}; choose another --enroll-socket"
            ) from None
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=_LONGEST)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)
        for task in self._answering:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._answering) >= _MAX_CONNECTIONS:
            writer.close()
            return
        self._answering.add(task)
        try:
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._converse(reader, writer)
        except asyncio.CancelledError:
            pass  # the daemon ends
        except Exception as error:  # the edge: one request is lost, the daemon lives
            self._faults.caught("enrolling", error)
        finally:
            self._answering.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Line by line, until the peer has no more."""
        with contextlib.closing(_Peer(writer.get_extra_info("socket"))) as peer:
            while True:
                try:
                    async with asyncio.timeout(_PATIENCE):
                        line = await reader.readuntil(b"\n")
                except asyncio.IncompleteReadError as error:
                    line = error.partial  # a last line without its end is one too
                except asyncio.LimitOverrunError:
                    return
                if not line.strip():
                    return
                writer.write(json.dumps(await self._answer(line, peer)).encode() + b"\n")
                async with asyncio.timeout(_PATIENCE):
                    await writer.drain()

    async def _answer(self, line: bytes, peer: _Peer) -> Any:
        try:
            peer.check()
            what, details = _request(line)
            if what == "Query":
                return self._info(details.get("pid"))
            return await self._enroll(details, peer)
        except DnsfwError as error:
            return {"Error": str(error)}

    async def _enroll(self, details: dict[str, Any], peer: _Peer) -> str:
        pod, role = details.get("pod_id"), details.get("role_id")
        if not isinstance(pod, int) or not isinstance(role, int | str) or isinstance(role, bool):
            raise ConfigError('write {"Enroll": {"pod_id": 1, "role_id": 3}}')
        done = await self._enrollments.enroll_number(peer.pid, role)
        self._known.update({pid: {"pod_id": pod, "role_id": role} for pid in done.pids})
        for pid in tuple(self._known)[:-_MOST_REMEMBERED]:  # the oldest
            del self._known[pid]
        return "Success"

    def _info(self, pid: object) -> dict[str, Any]:
        if not isinstance(pid, int) or (found := self._known.get(pid)) is None:
            raise ConfigError("Process not found or not enrolled")
        return {"ProcessInfo": found}


class _Peer:
    """Who connected. It must be alive, and root, when it is given a role."""

    def __init__(self, sock: socket.socket) -> None:
        cred = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        self.pid, self._uid, _ = _UCRED.unpack(cred)
        self._process: Process | None = None
        with contextlib.suppress(ConfigError):
            self._process = Process(self.pid, _pidfd(sock))

    def check(self) -> None:
        """ConfigError if it has ended: its number may be another's by now."""
        if self._uid not in {0, os.geteuid()}:
            raise ConfigError("only root may choose its role; use a subject of the policy")
        if self._process is None:
            raise ConfigError("the process that connected has ended")
        self._process.check()

    def close(self) -> None:
        if self._process is not None:
            self._process.close()


def _pidfd(sock: socket.socket) -> int | None:
    """Of the process that connected, whoever has its number now; None before Linux 6.5."""
    with contextlib.suppress(OSError):
        return sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    return None


def _request(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ConfigError("the request is not JSON") from None
    if isinstance(request, dict) and len(request) == 1:
        ((what, details),) = request.items()
        if what in ("Enroll", "Query") and isinstance(details, dict):
            return what, details
    raise ConfigError('a request is {"Enroll": {"pod_id": 1, "role_id": 3}}')
