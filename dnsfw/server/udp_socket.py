"""UDP sockets that queries come to: one an address, or a group that shares them (`dns.workers`).

A group is the kernel's (SO_REUSEPORT, Linux 3.9): it gives each client socket to one of ours.
Nobody else can slip in (row 83): the first is bound alone, which fails where anybody has the
address, with whatever options; sockets of another user can never join, and one of our own
user that joins later is given nothing, for a filter divides among the first ones (Linux 4.5).
One that asks for less (an address of a wildcard, a device, one client) would be asked first: the
hooks at bind(2) let nobody have a port of ours but who is marked as our own (`own`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from dnsfw.errors import ConfigError
from dnsfw.server.address import Endpoint
from dnsfw.server.binding import bind

__all__ = [
    "ANCILLARY", "Control", "Own", "nobodys", "open_group", "open_socket", "read_control",
    "source_of", "waiting",
]  # fmt: skip

RECEIVE_BUFFER = 4 << 20  # bytes: about 5,000 small queries, 50 ms at 100,000 a second

_SO_MEMINFO = 55  # Linux 4.12; the first number of nine is what the queue takes, in bytes
_MEMINFO_BYTES = 36
_SO_RCVMARK = 75  # asm-generic/socket.h, Linux 5.19
_SO_RCVBUFFORCE = 33
_SO_ATTACH_REUSEPORT_CBPF = 51
_IP_PKTINFO = 8
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_IPV6_RECVPKTINFO = 49
_IPV6_PKTINFO = 50
_PMTUDISC_OMIT = 5  # ignore "fragmentation needed": a forger must not make our answers fragment

# linux/bpf_common.h, linux/filter.h
_LD_WORD, _LD_HALF, _TAX, _RET_A = 0x20, 0x28, 0x07, 0x16
_MUL, _XOR_X, _SHIFT_RIGHT, _MOD = 0x24, 0xAC, 0x74, 0x94
_NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF: offsets count from there
_SPREAD = 0x9E3779B1  # 2^32 by the golden ratio: neighbours end up far apart
_SOURCE = {socket.AF_INET: (12, 20), socket.AF_INET6: (20, 40)}  # address (its end), port
_INSTRUCTION = struct.Struct("=HBBI")

ANCILLARY = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(20)
_MARK = struct.Struct("=I")
_INFO4 = struct.Struct("=I4s4s")  # in_pktinfo: interface, the local address, the header's
_INFO6 = struct.Struct("=16sI")  # in6_pktinfo: address, interface

Control = tuple[int, int, bytes]
Own = Callable[[int], object]


def nobodys(_: int) -> None:
    """Where no wall stands yet, there is no mark to be had."""


def open_socket(
    endpoint: Endpoint,
    bound: socket.socket | None = None,
    *,
    shared: bool = False,
    own: Own = nobodys,
) -> socket.socket:
    """One of its own, or one that is bound already made ready. ConfigError says why not.

    `shared`: one more of a group, which somebody of ours has begun. `own` marks it for the wall
    that an earlier process left.
    """
    # No SO_REUSEADDR, and no SO_REUSEPORT unless it is shared: with either, another process
    # could bind the same address later and answer in our place.
    sock = bound or socket.socket(endpoint.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        _prepare(sock, endpoint)
        if bound is None:
            if endpoint.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            own(sock.fileno())
            bind(sock, endpoint, "udp")
    except BaseException:
        sock.close()
        raise
    return sock


def open_group(endpoint: Endpoint, count: int, own: Own = nobodys) -> list[socket.socket]:
    """So many for one address: all of a client's queries come to one of them. ConfigError."""
    group = [open_socket(endpoint, own=own)]
    if count == 1:
        return group
    try:
        group[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        same = Endpoint(endpoint.address, group[0].getsockname()[1])
        group += [open_socket(same, shared=True, own=own) for _ in range(count - 1)]
        _divide(group[0], count)
        _look_for_others(group, endpoint)
    except BaseException:
        for sock in group:
            sock.close()
        raise
    return group


def _divide(first: socket.socket, count: int) -> None:
    """Among the first `count` of the group, by the sender's address and port. What the filter
    cannot read (a fragment's rest) comes to the first one.
    """
    address, port = _SOURCE[socket.AddressFamily(first.family)]
    steps = (
        (_LD_WORD, _NETWORK_HEADER + address), (_MUL, _SPREAD), (_TAX, 0),
        (_LD_HALF, _NETWORK_HEADER + port), (_XOR_X, 0), (_MUL, _SPREAD), (_SHIFT_RIGHT, 16),
        (_MOD, count), (_RET_A, 0),
    )  # fmt: skip
    code = b"".join(_INSTRUCTION.pack(what, 0, 0, value) for what, value in steps)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(steps), ctypes.addressof(held))
    first.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)


def _look_for_others(group: list[socket.socket], endpoint: Endpoint) -> None:
    """ConfigError if a socket that is not ours came between them: one of our own user can, for
    a moment, and the filter would take it for the next one.
    """
    ours = {os.fstat(sock.fileno()).st_ino for sock in group}
    path = Path("/proc/net/udp6" if endpoint.family == socket.AF_INET6 else "/proc/net/udp")
    try:
        rows = [line.split() for line in path.read_text().splitlines()[1:]]
    except OSError as error:
        raise ConfigError(
            f"cannot see who else listens on {endpoint}: {path}: {error.strerror}; "
            "remedy: mount /proc, or dns.workers: 1"
        ) from None
    places = {row[1] for row in rows if int(row[9]) in ours}
    if any(row[1] in places and int(row[9]) not in ours for row in rows):
        raise ConfigError(
            f"cannot listen on {endpoint} (udp): another program of this user listens there "
            f"since a moment ago: see `ss -ulnp 'sport = :{endpoint.port}'`, and stop it"
        )


def read_control(control: list[tuple[int, int, bytes]]) -> tuple[int, Control | None]:
    """The packet's mark, and what makes the reply leave from the address that was asked."""
    mark, source = 0, None
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SO_MARK:
            mark = _MARK.unpack(data)[0]
        elif level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, local, _ = _INFO4.unpack(data)
            source = (level, kind, _INFO4.pack(0, local, bytes(4)))
        elif level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
            local, interface = _INFO6.unpack(data)
            # A link-local address means nothing without its interface; elsewhere routing decides.
            scoped = local[0] == 0xFE and local[1] & 0xC0 == 0x80
            source = (level, kind, _INFO6.pack(local, interface if scoped else 0))
    return mark, source


def source_of(family: int, info: bytes) -> Control:
    """What `read_control` makes of the address that was asked, from its octets alone."""
    if family == socket.AF_INET:
        return socket.IPPROTO_IP, _IP_PKTINFO, info[: _INFO4.size]
    return socket.IPPROTO_IPV6, _IPV6_PKTINFO, info[: _INFO6.size]


def waiting(sock: socket.socket) -> int:
    """What its queue takes, in bytes of the kernel's."""
    told = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO_BYTES)
    return int(_MARK.unpack_from(told)[0])


def _prepare(sock: socket.socket, endpoint: Endpoint) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:  # not CAP_NET_ADMIN: what net.core.rmem_max allows
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    with contextlib.suppress(OSError):  # before 5.19: no mark, and no roles
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVMARK, 1)
    if endpoint.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_OMIT)
        if endpoint.wildcard:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_OMIT)
        if endpoint.wildcard:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
