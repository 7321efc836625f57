"""Who asks over TCP: what the filter on our listeners noted of each accepted socket.

An accepted socket does not show the mark of its peer's packets, as a datagram does; and a
port or a pid that userspace looks up is a guess that may come too late.
"""

from __future__ import annotations

import os
import socket

from dnsfw.datapath.bpf import Program
from dnsfw.datapath.swap import Table
from dnsfw.errors import DatapathError
from dnsfw.model import NO_ROLE, RoleId

__all__ = ["Askers", "netns_cookie_of", "socket_cookie"]

_SO_ATTACH_BPF = 50
_SO_COOKIE = 57  # Linux 4.12
_SO_NETNS_COOKIE = 71  # Linux 5.14
_COOKIE_BYTES = 8


class Askers:
    """The reader of `dnsfw_askers`; its rows go when others need the room."""

    def __init__(self, askers: Table, program: Program) -> None:
        self._askers = askers
        self._program = program

    def watch(self, listener: int) -> None:
        """Every socket that this listener accepts from now on is known by `role`."""
        with socket.socket(fileno=os.dup(listener)) as sock:
            try:
                sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, self._program.fd)
            except OSError as error:
                raise DatapathError(
                    f"cannot tell who asks over TCP: {error.strerror}; a socket filter needs BPF"
                ) from error

    def role(self, cookie: int) -> RoleId:
        """The mark of the last packet that this socket received; NO_ROLE if there was none."""
        found = self._askers.lookup(cookie.to_bytes(_COOKIE_BYTES, "little"))
        return RoleId(int.from_bytes(found, "little")) if found else NO_ROLE


def socket_cookie(fd: int) -> int:
    """The number that a socket has for as long as it lives, and no other ever."""
    return _number(fd, _SO_COOKIE)


def netns_cookie_of(fd: int) -> int:
    """The number by which hooks know the network namespace that this socket was made in."""
    return _number(fd, _SO_NETNS_COOKIE)


def _number(fd: int, option: int) -> int:
    with socket.socket(fileno=os.dup(fd)) as sock:
        raw = sock.getsockopt(socket.SOL_SOCKET, option, _COOKIE_BYTES)
    return int.from_bytes(raw, "little")
