"""Who asked for a name: the client's address, and of a client on this host user and cgroup.

For the log and for `explain`, never to judge by (a role comes from the kernel). A look-up
costs ten microseconds, so there are few a second, for what is told for the first time.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dnsfw.datapath import cgroup
from dnsfw.datapath.sockowner import SocketOwners
from dnsfw.engine.effects import Client, Transport
from dnsfw.errors import DatapathError
from dnsfw.model import SECOND, Nanos
from dnsfw.server.clock import Now
from dnsfw.server.escape import safe
from dnsfw.values import dataclass

__all__ = ["NOBODY", "CgroupPaths", "Who", "WhoAsks", "who_text"]

_A_SECOND = 200  # look-ups
_WAITING = 1024  # clients that are remembered until they are answered
_PROTOCOLS = {Transport.UDP: socket.IPPROTO_UDP, Transport.TCP: socket.IPPROTO_TCP}
_PROCESSES = 16  # of a cgroup: more than that, and nobody is looked for among them
_PATHS_KEPT = 4096
_STALE = 5 * SECOND  # a cgroup that was not there may be by now


@dataclass(frozen=True, slots=True)
class Who:
    """As far as it is known; a number that is not is None."""

    address: str = ""
    transport: str = ""
    user: int | None = None
    cgroup: int = 0
    inode: int = 0  # of the socket
    pid: int = 0  # of a connection that the kernel refused: its event says so
    command: str = ""
    gone: bool = False  # it was looked for, and no socket of this host was there any more


NOBODY = Who()


class WhoAsks:
    """Asked by the loop while the client waits for its answer."""

    def __init__(self, owners: SocketOwners, now: Now) -> None:
        self._owners = owners
        self._now = now
        self._second = Nanos(0)
        self._looked = 0
        self._asked: dict[int, tuple[Client, Who]] = {}
        self._plain: dict[tuple[str, Transport], Who] = {}  # those of whom no more is known

    def asked(self, client: Client) -> None:
        """Look now, while it waits: when it has its answer, its socket may be gone."""
        if not self._may_look():
            return
        if len(self._asked) >= _WAITING:
            del self._asked[next(iter(self._asked))]
        self._asked[id(client)] = (client, self._look(client))

    def who(self, client: Client | None) -> Who:
        """Never raises; without a socket of this host the address is all there is."""
        if client is None:
            return NOBODY
        known = self._asked.get(id(client))
        if known is not None and known[0] is client:
            return known[1]
        way = (client[3], client[2])
        plain = self._plain.get(way)
        if plain is None:
            if len(self._plain) >= _WAITING:
                self._plain.clear()
            plain = self._plain[way] = Who(client.address, client.transport.value)
        return plain

    def at(self, address: str, port: int, servers: Iterable[tuple[str, int]]) -> Who:
        """Of a datagram that the kernel has answered: whose socket is at its source, if it is
        still there and speaks to one of these servers.
        """
        known = Who(address, Transport.UDP.value)
        for server in servers if self._may_look() else ():
            owner = self._owners.find(_PROTOCOLS[Transport.UDP], (address, port), server)
            if owner is not None:
                return replace(known, user=owner.user, cgroup=owner.cgroup, inode=owner.inode)
            known = Who(address, Transport.UDP.value, gone=_is_here(address))
        return known

    def _look(self, client: Client) -> Who:
        address, transport = client.address, client.transport.value
        if (ends := _ends(client.route)) is None:
            return Who(address, transport)
        owner = self._owners.find(_PROTOCOLS[client.transport], *ends)
        if owner is None:
            return Who(address, transport, gone=_is_here(address))
        return Who(address, transport, owner.user, owner.cgroup, owner.inode)

    def _may_look(self) -> bool:
        now = self._now()
        if now - self._second >= SECOND:
            self._second, self._looked = now, 0
        self._looked += 1
        return self._looked <= _A_SECOND

    def close(self) -> None:
        self._owners.close()


def _is_here(address: str) -> bool:
    """Of others' addresses nobody has a socket here: that says nothing."""
    return address.startswith("127.") or address == "::1"


def _ends(route: object) -> tuple[tuple[str, int], tuple[str, int]] | None:
    """Both ends of the way that a query came, as far as its route tells them."""
    peer = getattr(route, "peer", None)
    endpoint = getattr(getattr(route, "listener", None), "endpoint", None)
    if not isinstance(peer, tuple) or len(peer) < 2 or endpoint is None or endpoint.wildcard:
        return None
    return (str(peer[0]), int(peer[1])), (str(endpoint.address), int(endpoint.port))


def who_text(who: Who, paths: CgroupPaths, hide: Callable[[str], str] = str) -> str:
    """In words for people: address, user, cgroup and process, as far as they are known."""
    parts = [f"{hide(who.address)} by {who.transport}"] if who.address else []
    if who.user is not None:
        parts.append(f"uid {who.user}")
    elif who.gone:
        parts.append("its program was gone by then")
    pid, command = who.pid, who.command
    if path := paths.path(who.cgroup):
        parts.append(path)
        pid, command = paths.process(who.cgroup, who.inode) if not pid else (pid, command)
    if pid or command:
        parts.append(f"{command or '?'}[{pid}]" if pid else command)
    return ", ".join(parts)


class CgroupPaths:
    """From a cgroup's id to its path, by walking the tree: for a thread that has time."""

    def __init__(self, now: Now, root: Path | None = None, proc: Path = Path("/proc")) -> None:
        self._now = now
        self._root = root or _cgroups()
        self._proc = proc
        self._paths: dict[int, str] = {}
        self._walked = Nanos(0)

    def path(self, number: int) -> str:
        """`/system.slice/x.service`; empty for one that is gone or was never here."""
        if not number:
            return ""
        if number not in self._paths and self._now() - self._walked >= _STALE:
            self._walk()
        return self._paths.get(number, "")

    def process(self, number: int, inode: int) -> tuple[int, str]:
        """The process of a cgroup that holds this socket, or its only one; (0, "") else."""
        path = self.path(number)
        if not path:
            return 0, ""
        with suppress(OSError):
            text = (self._root / path.lstrip("/") / "cgroup.procs").read_text()
            pids = [int(pid) for pid in text.split() if pid != "0"]
            if len(pids) == 1:
                return pids[0], self._command(pids[0])
            for pid in sorted(pids, reverse=True) if len(pids) <= _PROCESSES else ():
                if self._holds(pid, inode):
                    return pid, self._command(pid)
        return 0, ""

    def _command(self, pid: int) -> str:
        with suppress(OSError):
            return safe((self._proc / str(pid) / "comm").read_bytes().strip())
        return ""

    def _holds(self, pid: int, inode: int) -> bool:
        wanted = f"socket:[{inode}]"
        with suppress(OSError):  # gone, or another user's: this process has no right to look
            return any(str(fd.readlink()) == wanted for fd in (self._proc / f"{pid}/fd").iterdir())
        return False

    def _walk(self) -> None:
        self._walked = self._now()
        found: dict[int, str] = {}
        pending = [("/", self._root)]
        while pending and len(found) < _PATHS_KEPT:
            path, place = pending.pop(0)
            with suppress(OSError):
                found[place.stat().st_ino] = safe(path)
                pending += [
                    (f"{path.rstrip('/')}/{below.name}", below)
                    for below in place.iterdir()
                    if below.is_dir() and not below.is_symlink()
                ]
        self._paths = found


def _cgroups() -> Path:
    """Where version 2 is mounted; without it nobody is found below."""
    with suppress(DatapathError):
        return cgroup.root()
    return Path("/sys/fs/cgroup")
