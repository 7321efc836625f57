"""Another role for sockets that exist already.

A socket's role is a record in the socket itself, written when it was made. A process that
changes its role keeps its descriptors, so each is fetched (pidfd_getfd, Linux 5.6), its
record rewritten, and the copy closed again. Not found are sockets under way in a message
between processes, registered with an io_uring and otherwise closed, or in a descriptor
table of a thread's own (`unshare(CLONE_FILES)`): they keep the role of who made them.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from struct import Struct

from dnsfw.datapath import abi, sockdiag
from dnsfw.datapath.bpf import Map
from dnsfw.datapath.process import Process
from dnsfw.errors import DatapathError
from dnsfw.model import RoleId
from dnsfw.values import dataclass

__all__ = ["HeldSocket", "end_socket", "record_of", "relabel", "share_counts"]

_FD = Struct("i")
_SO_COOKIE, _SO_NETNS_COOKIE = 57, 71  # Linux 4.12, 5.14
_SO_BINDTOIFINDEX = 62  # Linux 5.1
_JUDGED = (socket.AF_INET, socket.AF_INET6, socket.AF_PACKET)
_MOST_LOOKED_AT = 200_000  # descriptors of other processes: a second of look-ups
_MAPPED = "::ffff:"


@dataclass(frozen=True, slots=True)
class HeldSocket:
    """A socket that a process holds, after it was given its role."""

    pid: int
    fd: int  # in that process
    cookie: int  # SO_COOKIE: whether it still is the same
    proto: int  # IPPROTO_TCP, IPPROTO_UDP, ...
    remote: str = ""  # the peer's address, if it has one
    port: int = 0
    outgoing: bool = True  # nothing of that namespace listens on its local port
    shared: bool = False  # a process outside the role holds it too


def relabel(
    process: Process, socks: Map, role: RoleId, listening: Iterable[int] = (),
    until: float = math.inf,
) -> tuple[HeldSocket, ...]:  # fmt: skip
    """Gives every socket that the process holds the role, and says which they are.

    `listening` are the local TCP ports of its namespace whose connections were accepted. Past
    `until` (time.monotonic) no more are looked at: anybody may hold a million.
    Gone; DatapathError if we may not look into the process.
    """
    ports = frozenset(listening)
    found = []
    for number in process.sockets():
        if time.monotonic() > until:
            break
        with _duplicate(process, number) as sock:
            if sock is None:
                continue
            before = socks.lookup(_FD.pack(sock.fileno()))
            socks.update(_FD.pack(sock.fileno()), record_of(process, sock, role, before).pack())
            found.append(_held(process.pid, number, sock, ports))
    process.check()
    return tuple(found)


def record_of(
    process: Process, sock: socket.socket, role: RoleId, before: bytes | None
) -> abi.Sock:
    """The record of a socket: as it was but for the role, and for what the hooks keep in it of
    the old role's conversations; a new one for an older socket.
    """
    if before is not None and (made := abi.Sock.unpack(before)).role:
        return made._replace(role=role)
    name = process.name.encode(errors="replace")[: abi.Limit.COMM - 1]
    netns = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")
    return abi.Sock(role, process.pid, name.ljust(abi.Limit.COMM, b"\0"), netns)


def listening_ports(process: Process) -> frozenset[int]:
    """On which TCP ports something listens in its network namespace."""
    with process.network():
        found = sockdiag.connections()
    return frozenset(c.local_port for c in found if c.state == sockdiag.TCP_LISTEN)


def end_socket(process: Process, held: HeldSocket) -> bool:
    """Aborts a TCP connection: its owner gets ECONNABORTED. False if it is not there any more."""
    with _duplicate(process, held.fd) as sock:
        if sock is None or _cookie(sock) != held.cookie or held.proto != socket.IPPROTO_TCP:
            return False
        try:
            handle = _handle(sock)
        except OSError:
            return False  # never connected, or not any more
        with process.network():
            sockdiag.destroy_handle(handle)
    return True


def share_counts(
    held: Sequence[HeldSocket], pids: Iterable[int], proc: Path = Path("/proc")
) -> tuple[HeldSocket, ...]:
    """The same, each with whether a process outside of `pids` holds it too."""
    inside = {str(pid) for pid in pids}
    inodes = {
        inode: i for i, h in enumerate(held)
        if (inode := _link(proc / str(h.pid) / "fd" / str(h.fd)))
    }  # fmt: skip
    shared: set[int] = set()
    looked = 0
    for entry in proc.iterdir() if inodes else ():
        if not entry.name.isdigit() or entry.name in inside:
            continue
        with suppress(OSError):
            for fd in (entry / "fd").iterdir():
                looked += 1
                if (i := inodes.get(_link(fd))) is not None:
                    shared.add(held[i].cookie)
        if looked > _MOST_LOOKED_AT:
            break
    return tuple(replace(h, shared=h.cookie in shared) for h in held)


@contextmanager
def _duplicate(process: Process, number: int) -> Iterator[socket.socket | None]:
    """A copy of a socket of the process, if it still is one and packets can leave by it."""
    try:
        fd = process.descriptor(number)
    except PermissionError as error:
        process.check()
        raise DatapathError(
            f"cannot take sockets of process {process.pid}: {error.strerror}; it needs "
            "CAP_SYS_PTRACE"
        ) from None
    except OSError:  # closed meanwhile
        yield None
        return
    try:
        sock = socket.socket(fileno=fd)
    except OSError:  # the number is something else by now
        os.close(fd)
        yield None
        return
    with sock:
        yield sock if sock.family in _JUDGED else None


def _held(pid: int, number: int, sock: socket.socket, listening: frozenset[int]) -> HeldSocket:
    proto = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)
    held = HeldSocket(pid, number, _cookie(sock), proto)
    with suppress(OSError):  # not connected
        if sock.family != socket.AF_PACKET:
            remote, port = sock.getpeername()[:2]
            local_port = sock.getsockname()[1]
            accepted = proto == socket.IPPROTO_TCP and local_port in listening
            return replace(held, remote=_plain(remote), port=port, outgoing=not accepted)
    return held


def _cookie(sock: socket.socket) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little")


def _handle(sock: socket.socket) -> bytes:
    """Its family and inet_diag_sockid, with the cookie: it ends this socket or none."""
    local, peer = sock.getsockname(), sock.getpeername()
    family = sock.family
    index = sock.getsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX)
    addresses = [
        socket.inet_pton(family, name[0].partition("%")[0]).ljust(16, b"\0")
        for name in (local, peer)
    ]
    return b"".join((
        bytes([family]), local[1].to_bytes(2, "big"), peer[1].to_bytes(2, "big"), *addresses,
        index.to_bytes(4, "little"), _cookie(sock).to_bytes(8, "little"),
    ))  # fmt: skip


def _plain(address: str) -> str:
    """IPv4 as IPv4, and without a scope."""
    return address.removeprefix(_MAPPED).partition("%")[0]


def _link(path: Path) -> str:
    with suppress(OSError):
        return str(path.readlink())
    return ""


