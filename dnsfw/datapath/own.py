"""Marks on sockets: which are the daemon's own, and whose role one has.

The mark is a record in the socket itself, written through its descriptor. An address, a
port or an fwmark could be copied by the guarded; this cannot.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from struct import Struct

from dnsfw.datapath import abi, bpf
from dnsfw.datapath.bpf import Map
from dnsfw.datapath.syscall import MapType
from dnsfw.errors import DatapathError
from dnsfw.model import RoleId

_FD = Struct("i")
_MARK = Struct("I").pack(1)
_SO_NETNS_COOKIE = 71  # Linux 5.14


class OwnSockets:
    """Lets sockets of this process through the wall."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self._own = maps["dnsfw_own"]

    def mark(self, sock: int | socket.socket) -> None:
        """From the next packet on, whatever this socket sends passes.

        A socket that a marked listener accepts is marked too.
        """
        self._own.update(_FD.pack(sock if isinstance(sock, int) else sock.fileno()), _MARK)


def own_of(wall: Path) -> OwnSockets | None:
    """The same of a wall that is only pinned here, for a daemon that has yet to take it over;
    None where there is no such table, or not for us.
    """
    try:
        fd = bpf.obj_get(wall / "dnsfw_own")
    except DatapathError:
        return None
    table = bpf.Map(fd, _FD.size, len(_MARK), MapType.SK_STORAGE, 0, "dnsfw_own")
    return OwnSockets({"dnsfw_own": table})


def assign_role(socks: Map, sock: socket.socket, role: RoleId, pid: int, netns: int) -> None:
    """Overwrites what `sock_create` found out about this socket."""
    record = abi.Sock(role, pid, b"dnsfw".ljust(abi.Limit.COMM, b"\0"), netns)
    socks.update(_FD.pack(sock.fileno()), record.pack())


def netns_cookie() -> int:
    """The number by which hooks know the current network namespace; 0 before Linux 5.14."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            raw = sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:
            return 0
    return int.from_bytes(raw, "little")
