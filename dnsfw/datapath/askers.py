"""Filters on our listeners: who asks over TCP, and that nobody floods over UDP.

An accepted socket does not show the mark of its peer's packets, as a datagram does; and a
port or a pid that userspace looks up is a guess that may come too late.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from dnsfw.datapath.bpf import Program
from dnsfw.datapath.swap import Table
from dnsfw.errors import DatapathError
from dnsfw.model import NO_ROLE, RoleId

__all__ = ["Askers", "has_asked", "netns_cookie_of", "socket_cookie"]

_SO_DETACH_FILTER = 27
_SO_ATTACH_BPF = 50
_SO_COOKIE = 57  # Linux 4.12
_SO_NETNS_COOKIE = 71  # Linux 5.14
_COOKIE_BYTES = 8
_ROLE_SHIFT = 56  # a role above a namespace's cookie, in `dnsfw_asked`


class Askers:
    """The reader of `dnsfw_askers`; its rows go when others need the room."""

    def __init__(
        self, askers: Table, noter: Program, limiter: Program, allowance: Table
    ) -> None:
        self._askers = askers
        self._allowance = allowance
        self._noter = noter
        self._limiter = limiter

    def watch(self, listener: int) -> None:
        """Every socket that this listener accepts from now on is known by `role`."""
        _filter(listener, self._noter)

    def share(self, listener: int, on: bool) -> None:
        """While on, no role sends this UDP listener more than its share of datagrams."""
        if on:
            _filter(listener, self._limiter)
            return
        with socket.socket(fileno=os.dup(listener)) as sock, suppress(OSError):  # has none
            sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)

    def allow(self, datagrams: int) -> None:
        """What each role's share is from now on, a CPU and 67 ms: at least 128; 0 is all."""
        self._allowance.update(bytes(4), datagrams.to_bytes(4, "little"))

    def role(self, cookie: int) -> RoleId:
        """The mark of the last packet that this socket received; NO_ROLE if there was none."""
        found = self._askers.lookup(cookie.to_bytes(_COOKIE_BYTES, "little"))
        return RoleId(int.from_bytes(found, "little")) if found else NO_ROLE


def has_asked(asked: Table, netns: int, role: RoleId) -> bool:
    """Whether a socket of this role was led to a door in this namespace, which is not ours."""
    key = netns | role << _ROLE_SHIFT
    return asked.lookup(key.to_bytes(_COOKIE_BYTES, "little")) is not None


def _filter(listener: int, program: Program) -> None:
    with socket.socket(fileno=os.dup(listener)) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program.fd)
        except OSError as error:
            raise DatapathError(f"a socket takes no filter: {error.strerror}") from error


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
