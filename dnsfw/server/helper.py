"""What needs more rights than the DNS process keeps, done by a small process that has them.

It is forked before the DNS process gives its privileges up, reads no packet, lives in an
empty network namespace, and ends with its parent. The two speak over a SOCK_SEQPACKET pair:
one JSON object a message, descriptors beside it. Every call here returns within `PATIENCE`,
and raises DatapathError when the helper is gone (`alive` is then False for good: the wall
stands and judges as before, and `lost` says what does not work any more).

What cannot be done for a reason of the operator's (no such process, a unit that is not
delegated) is a ConfigError.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from json import loads
from typing import Any

from dnsfw.datapath.executables import Executable
from dnsfw.datapath.relabel import HeldSocket
from dnsfw.errors import ConfigError, DatapathError
from dnsfw.model import RoleId
from dnsfw.server.capabilities import Cap, held
from dnsfw.server.helper_main import WAKE, begin
from dnsfw.server.helper_seam import Enrolled, Helper, NoHelper, Told, Wanted
from dnsfw.server.helper_wire import LONGEST, code, receive, send

__all__ = [
    "PATIENCE",
    "Enrolled",
    "Executable",
    "HeldSocket",
    "Helper",
    "NoHelper",
    "Privileged",
    "Told",
    "Wanted",
    "start_helper",
]

PATIENCE = 10.0  # seconds; relabelling 10,000 sockets takes one
_SO_SNDBUFFORCE = 32
_LOST = (
    "the privileged helper has ended: no enrolling, no executables as subjects, no queries taken "
    "over in other network namespaces, until dnsfw is restarted; the wall stands as before"
)


class Privileged:
    """`Helper` over a forked process."""

    def __init__(self, pair: socket.socket, news: socket.socket, pid: int) -> None:
        self.pid = pid
        self._pair = pair
        self._news = news  # what it tells has a way of its own: the loop reads it
        self._last_words: list[str] = []
        self._lock = threading.Lock()  # a verb may run in a thread: enrolling takes a while
        self._gone = False
        self._tables: tuple[int, int, str | None] | None = None  # it does not have them yet
        self._watched = False
        self._woken = False

    @property
    def alive(self) -> bool:
        return not self._gone

    @property
    def lost(self) -> str:
        return _LOST if self._gone else ""

    def fileno(self) -> int | None:
        return None if self._gone else self._news.fileno()

    def told(self) -> Iterator[Told]:
        while not self._gone:
            try:
                data = self._news.recv(LONGEST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self._bury()
                break
            message = loads(data)
            yield Told(message["told"], message["text"])
        while self._last_words:
            yield Told("lost", self._last_words.pop())

    def tables(self, cgroups: int, socks: int, guarded: str | None = None) -> None:
        self._tables = cgroups, socks, guarded

    def wake(self) -> None:
        self._ask("tidy")

    def sockets_in(self, pid: int, wanted: Sequence[Wanted]) -> list[int]:
        asked = [
            {"transport": w.transport, "address": str(w.endpoint.address), "port": w.endpoint.port}
            for w in wanted
        ]
        return self._ask("sockets", pid=pid, wanted=asked)[1]

    def homes(self, cookies: Sequence[int]) -> Mapping[int, int]:
        return dict(self._ask("homes", cookies=list(cookies))[0]["homes"])

    def answer_in(self, network: int, program: int) -> int:
        return self._ask("answer", (network, program))[1][0]

    def inhabited(self, networks: Sequence[int]) -> frozenset[int]:
        return frozenset(self._ask("inhabited", networks=list(networks))[0]["inhabited"])

    def enroll(self, pid: int, role: RoleId, name: str, *, force: bool = False) -> Enrolled:
        return _enrolled(self._ask("enroll", pid=pid, role=role, name=name, force=force)[0])

    def unenroll(self, pid: int) -> Enrolled:
        return _enrolled(self._ask("unenroll", pid=pid)[0])

    def end_sockets(self, sockets: Sequence[HeldSocket]) -> int:
        if not sockets:
            return 0
        return int(self._ask("end", sockets=[asdict(s) for s in sockets])[0]["ended"])

    def relabel(self, pids: Sequence[int], role: RoleId) -> tuple[HeldSocket, ...]:
        return _sockets(self._ask("relabel", pids=list(pids), role=role)[0])

    def watch_executables(self, executables: Sequence[Executable]) -> tuple[str, ...]:
        if not executables and not self._watched:
            return ()  # it watches none
        self._watched = True
        reply, _ = self._ask("watch", executables=[asdict(e) for e in executables])
        return tuple(map(str, reply["absent"]))

    def dissolve(self) -> None:
        if stayed := self._ask("dissolve")[0]["stayed"]:
            raise DatapathError(f"these cgroups are still in use: {', '.join(stayed)}")

    def close(self) -> None:
        """EOF ends it; it has nothing to lose, so nobody waits long."""
        if self._pair.fileno() >= 0:
            self._gone = True
            self._pair.close()
            self._news.close()
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)

    def _ask(
        self, do: str, fds: Sequence[int] = (), **request: Any
    ) -> tuple[dict[str, Any], list[int]]:
        with self._lock:
            if (tables := self._tables) is not None:
                *two, guarded = tables
                names = ("dnsfw_cgroups", "dnsfw_socks")
                first = {"do": "tables", "names": names, "guarded": guarded, "code": code()}
                self._exchange(first, two)
                self._tables = None
            return self._exchange({"do": do, **request}, fds)

    def _exchange(
        self, request: dict[str, Any], fds: Sequence[int]
    ) -> tuple[dict[str, Any], list[int]]:
        if self._gone:
            raise DatapathError(_LOST)
        if not self._woken:
            self._woken = True
            with suppress(OSError):  # it has ended: the request will tell
                self._news.send(WAKE)
        try:
            send(self._pair, request, fds)
        except OSError:
            self._bury()
        while not self._gone:
            if not _readable(self._pair, PATIENCE):
                self._bury()  # its answer, later, would be taken for another's
            elif (answer := self._read()) is not None:
                return _checked(answer)
        raise DatapathError(_LOST)

    def _read(self) -> tuple[dict[str, Any], list[int]] | None:
        """An answer, or None at its end."""
        try:
            data, fds = receive(self._pair)
        except (OSError, DatapathError):
            data, fds = b"", []
        if not data:
            self._bury()
            return None
        return loads(data), fds

    def _bury(self) -> None:
        if not self._gone:
            self._gone = True
            self._last_words.append(_LOST)
            with suppress(OSError):
                self._pair.shutdown(socket.SHUT_RDWR)  # wherever it hangs, that ends it


def start_helper() -> Helper:
    """Fork it now: while this process has one thread, and all its privileges still."""
    if Cap.SYS_ADMIN not in held():
        return NoHelper(
            "no privileged helper, for dnsfw was started without CAP_SYS_ADMIN: no enrolling, no "
            "executables as subjects, no queries taken over in other network namespaces; "
            "remedy: start dnsfw as root, it keeps no more privileges than the rest needs"
        )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    heard, says = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * LONGEST)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        begin(theirs.fileno(), says.fileno(), parent)
    theirs.close()
    says.close()
    return Privileged(ours, heard, pid)


def _readable(pair: socket.socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pair, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _checked(answer: tuple[dict[str, Any], list[int]]) -> tuple[dict[str, Any], list[int]]:
    reply, fds = answer
    if "error" in reply:
        for fd in fds:
            os.close(fd)
        raise (ConfigError if reply["mistake"] else DatapathError)(reply["error"])
    return answer


def _sockets(reply: Mapping[str, Any]) -> tuple[HeldSocket, ...]:
    return tuple(HeldSocket(**one) for one in reply["sockets"])


def _enrolled(reply: Mapping[str, Any]) -> Enrolled:
    return Enrolled(
        reply["cgroup"], reply["number"], RoleId(reply["role"]), tuple(reply["pids"]),
        _sockets(reply), tuple(reply["notes"]),
    )  # fmt: skip
