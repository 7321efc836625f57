"""The control socket: one JSON object a line each way, for the commands of this host.

A request is `{"do": "grants"}`; the reply is any number of `{"row": {…}}` lines and
one last line, `{"ok": true, …}` or `{"ok": false, "error": …, "exit": 2}`.
Root may do everything; who else the socket's mode lets in may only look.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from dnsfw.errors import ConfigError, DatapathError, PolicyError
from dnsfw.server.faults import Faults

__all__ = ["ControlServer", "Verb", "Verbs", "failure"]

_LONGEST_REQUEST = 1 << 16
_MAX_CONNECTIONS = 32
_GOODBYE = 1.0  # seconds that replies under way have when the daemon ends
_PATIENCE = 10.0  # seconds to send a request, or to take a reply's next line
_UCRED = struct.Struct("3i")
_MODE = 0o660

Row = Mapping[str, Any]
Rows = AsyncGenerator[dict[str, Any], None]


class Verb:
    """One thing the daemon can be asked: rows, then a last line."""

    def __init__(
        self,
        act: Callable[[Row], Awaitable[Row]] | None = None,
        *,
        rows: Callable[[Row], Rows] | None = None,
        changes: bool = False,
    ) -> None:
        self.act = act
        self.rows = rows
        self.changes = changes  # then only root may


Verbs = Mapping[str, Verb]


def failure(error: Exception) -> Row:
    """The last line of a reply that says no: whose fault it is decides the exit code."""
    if isinstance(error, ConfigError):
        policy = isinstance(error, PolicyError)
        return {"ok": False, "error": str(error), "exit": 2, "policy": policy}
    return {"ok": False, "error": str(error), "exit": 3}


class ControlServer:
    """Listens on `path` until closed."""

    def __init__(self, path: Path, verbs: Verbs, faults: Faults) -> None:
        self.path = path
        self._faults = faults
        self._verbs = verbs
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[Any]] = set()
        self._streaming: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """The caller holds the directory's lock, so a socket that is there is a dead one's."""
        self.path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o777 & ~_MODE)  # never open to others, not for a moment
        try:
            sock.bind(str(self.path))
        except OSError as error:
            sock.close()
            raise ConfigError(f"cannot listen on {self.path}: {error.strerror}") from None
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=sock, limit=_LONGEST_REQUEST
        )

    async def close(self) -> None:
        """Stop listening; whoever waits for an answer has a moment to take it."""
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)
        for task in self._streaming:
            task.cancel()
        if self._answering:
            _, late = await asyncio.wait(tuple(self._answering), timeout=_GOODBYE)
            for task in late:
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._answering) >= _MAX_CONNECTIONS:
                return
            self._answering.add(task)
            with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        except asyncio.CancelledError:
            pass  # the daemon ends; nobody waits for this task
        except Exception as error:  # the edge: one request is lost, the daemon lives
            self._faults.caught("answering a command", error)
        finally:
            self._answering.discard(task)
            self._streaming.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                line = await reader.readuntil(b"\n")
            verb, request = self._parse(line, may_change(writer))
            if verb.rows is not None:
                await self._stream(verb.rows(request), reader, writer)
            last = await verb.act(request) if verb.act is not None else {}
            await _send(writer, {"ok": True, **last})
        except (ConfigError, DatapathError) as error:
            await _send(writer, failure(error))
        except asyncio.LimitOverrunError:
            await _send(writer, failure(ConfigError("the request is too long")))

    def _parse(self, line: bytes, may_change: bool) -> tuple[Verb, Row]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            raise ConfigError("the request is not JSON") from None
        verb = self._verbs.get(request["do"]) if _is_request(request) else None
        if verb is None:
            raise ConfigError("unknown request: are client and daemon of one version?")
        if verb.changes and not may_change:
            raise ConfigError("only root may change the firewall; use sudo")
        return verb, request

    async def _stream(
        self, rows: Rows, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send rows until they end or the client goes, which only a read can tell."""
        task = asyncio.current_task()
        assert task is not None
        self._streaming.add(task)
        gone = asyncio.ensure_future(reader.read(1))
        following: asyncio.Future[Row | None] | None = None
        try:
            while True:
                following = asyncio.ensure_future(_next(rows))
                await asyncio.wait({gone, following}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() and not following.done():
                    raise ConnectionError("the client went away")
                row = following.result()
                if row is None:
                    return
                await _send(writer, {"row": row})
        finally:
            gone.cancel()
            if following is not None and not following.done():
                following.cancel()
                await asyncio.wait({following})
            await rows.aclose()


async def _next(rows: Rows) -> Row | None:
    return await anext(rows, None)


def _is_request(request: object) -> bool:
    return isinstance(request, dict) and isinstance(request.get("do"), str)


def may_change(writer: asyncio.StreamWriter) -> bool:
    """Is the peer root, or who the daemon itself runs as? The kernel says (SO_PEERCRED)."""
    sock: socket.socket = writer.get_extra_info("socket")
    cred = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(cred)
    return uid in {0, os.geteuid()}


async def _send(writer: asyncio.StreamWriter, reply: Row) -> None:
    writer.write(json.dumps(reply, separators=(",", ":")).encode() + b"\n")
    async with asyncio.timeout(_PATIENCE):
        await writer.drain()
