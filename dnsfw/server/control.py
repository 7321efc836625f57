"""The control socket: one JSON object a line each way, for the commands of this host.

A request is `{"do": "grants"}`; the reply is any number of `{"row": {…}}` lines and
one last line, `{"ok": true, …}` or `{"ok": false, "error": …, "exit": 2}`.

Two rights. To look: whom the socket's mode lets in, which is root and the group `dnsfw`
where there is one. To change: root, the user that the daemon runs as, and of those who may
look the members of the group `dnsfw-admin`, where there is one. The kernel says who the
peer is and was when it connected (SO_PEERCRED, SO_PEERGROUPS); nothing it sends does.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dnsfw.errors import ConfigError, DatapathError, PolicyError
from dnsfw.server.faults import Faults
from dnsfw.values import dataclass

__all__ = [
    "ADMINS",
    "READERS",
    "ControlServer",
    "Peer",
    "Rows",
    "Verb",
    "Verbs",
    "failure",
    "group_id",
    "peer_of",
]

READERS = "dnsfw"  # the group that may look
ADMINS = "dnsfw-admin"  # the group whose members may change, too
_LONGEST_REQUEST = 1 << 16
_MAX_CONNECTIONS = 32
_MAX_LOOKERS = 24  # of these: who may only look cannot keep the operator out (row 132)
_GOODBYE = 1.0  # seconds that replies under way have when the daemon ends
_PATIENCE = 10.0  # seconds to send a request, or to take a reply's next line
_UCRED = struct.Struct("3i")
_SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13
_MOST_GROUPS = 1024  # bytes, as much as Python reads: of 256 groups; more count as none
_MODE = 0o660
_DIRECTORY = 0o750

Row = Mapping[str, Any]
Rows = AsyncGenerator[Sequence[Row], None]  # as many as are at hand


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks, as the kernel says."""

    uid: int
    may_change: bool


class Verb:
    """One thing the daemon can be asked: rows, then a last line. `checks` is an act that
    does less for who may only look, so it is told who asks.
    """

    def __init__(
        self,
        act: Callable[[Row], Awaitable[Row]] | None = None,
        *,
        rows: Callable[[Row], Rows] | None = None,
        checks: Callable[[Row, Peer], Awaitable[Row]] | None = None,
        changes: bool = False,
    ) -> None:
        self.act = act
        self.rows = rows
        self.checks = checks
        self.changes = changes  # then not everybody may


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
        self._lookers = 0
        self._admins: int | None = None
        self._streaming: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """The caller holds the directory's lock, so a socket that is there is a dead one's."""
        self._admins = group_id(ADMINS)  # once: a directory server may answer slowly
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
        _share(self.path)
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
        peer = peer_of(writer.get_extra_info("socket"), self._admins)
        if not self._room(peer):
            writer.close()
            return
        self._answering.add(task)
        self._lookers += not peer.may_change
        try:
            with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
                await self._answer(reader, writer, peer)
        except asyncio.CancelledError:
            pass  # the daemon ends; nobody waits for this task
        except Exception as error:  # the edge: one request is lost, the daemon lives
            self._faults.caught("answering a command", error)
        finally:
            self._lookers -= not peer.may_change
            self._answering.discard(task)
            self._streaming.discard(task)
            writer.close()

    def _room(self, peer: Peer) -> bool:
        if len(self._answering) >= _MAX_CONNECTIONS:
            return False
        return peer.may_change or self._lookers < _MAX_LOOKERS

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer
    ) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                line = await reader.readuntil(b"\n")
            verb, request = self._parse(line, peer)
            if verb.rows is not None:
                await self._stream(verb.rows(request), reader, writer)
            await _send(writer, {"ok": True, **await _last(verb, request, peer)})
        except (ConfigError, DatapathError) as error:
            await _send(writer, failure(error))
        except asyncio.LimitOverrunError:
            await _send(writer, failure(ConfigError("the request is too long")))

    def _parse(self, line: bytes, peer: Peer) -> tuple[Verb, Row]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            raise ConfigError("the request is not JSON") from None
        verb = self._verbs.get(request["do"]) if _is_request(request) else None
        if verb is None:
            raise ConfigError("unknown request: are client and daemon of one version?")
        if verb.changes and not peer.may_change:
            raise ConfigError(f"only root and the group {ADMINS} may change the firewall; use sudo")
        return verb, request

    async def _stream(
        self, rows: Rows, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send rows until they end or the client goes, which only a read can tell."""
        task = asyncio.current_task()
        assert task is not None
        self._streaming.add(task)
        gone = asyncio.ensure_future(reader.read(1))
        following: asyncio.Future[Sequence[Row] | None] | None = None
        try:
            while True:
                following = asyncio.ensure_future(_next(rows))
                await asyncio.wait({gone, following}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() and not following.done():
                    raise ConnectionError("the client went away")
                some = following.result()
                if some is None:
                    return
                await _send(writer, *({"row": row} for row in some))
        finally:
            gone.cancel()
            if following is not None and not following.done():
                following.cancel()
                await asyncio.wait({following})
            await rows.aclose()


async def _next(rows: Rows) -> Sequence[Row] | None:
    return await anext(rows, None)


def _is_request(request: object) -> bool:
    return isinstance(request, dict) and isinstance(request.get("do"), str)


async def _last(verb: Verb, request: Row, peer: Peer) -> Row:
    """What the last line of a reply says beside `ok`."""
    if verb.checks is not None:
        return await verb.checks(request, peer)
    return await verb.act(request) if verb.act is not None else {}


def peer_of(sock: socket.socket, admins: int | None) -> Peer:
    """Who connected; `admins` is the id of their group."""
    cred = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, gid = _UCRED.unpack(cred)
    if uid in {0, os.geteuid()}:
        return Peer(uid, may_change=True)
    return Peer(uid, may_change=admins is not None and admins in {gid, *_groups_of(sock)})


def _groups_of(sock: socket.socket) -> Iterator[int]:
    """The peer's other groups; none where the kernel does not say."""
    with contextlib.suppress(OSError):
        data = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS)
        yield from (gid for (gid,) in struct.iter_unpack("=I", data))


def group_id(name: str) -> int | None:
    """The id of a group; None where this host has none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _share(path: Path) -> None:
    """Let the group of those who may look reach the socket, where there is such a group.

    Where the daemon is not root, its unit has given it that group.
    """
    group = group_id(READERS)
    if group is None:
        return
    with contextlib.suppress(PermissionError):
        os.chown(path, -1, group)
        if path.parent.stat().st_mode & 0o005 != 0o005:
            os.chown(path.parent, -1, group)
            path.parent.chmod(_DIRECTORY)


async def _send(writer: asyncio.StreamWriter, *lines: Row) -> None:
    text = "".join([json.dumps(line, separators=(",", ":")) + "\n" for line in lines])
    writer.write(text.encode())
    async with asyncio.timeout(_PATIENCE):
        await writer.drain()
