"""The connections that are older than the wall, TCP and UDP, from the kernel's sock_diag.

A wall that goes up finds conversations that no hook saw begin. Those that a
listener accepted become inbound flows, so that a server is not cut off; the
outgoing ones that the policy refuses are ended with SOCK_DESTROY, so that they
fail at once instead of hanging (linux/inet_diag.h, Linux 4.9).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

from dnsfw.errors import DatapathError
from dnsfw.model import Addr, addr_from
from dnsfw.values import dataclass

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 20, 21
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
INET_DIAG_CGROUP_ID = 21
NO_COOKIE = b"\xff" * 8

TCP_ESTABLISHED, TCP_SYN_SENT, TCP_CLOSE_WAIT, TCP_LISTEN = 1, 2, 8, 10
FIN_WAITS = (4, 5)
TALKING = (TCP_ESTABLISHED, TCP_SYN_SENT, TCP_CLOSE_WAIT, *FIN_WAITS)
UDP_UNCONNECTED = 7  # TCP_CLOSE: takes datagrams from anybody
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP

_HEADER = Struct("=IHHII")  # nlmsghdr
_REQUEST = Struct("=BBBBI")  # inet_diag_req_v2 before its sockid
_SOCKID = Struct("=2s2s16s16sI8s")  # ports and addresses in network byte order
_MESSAGE = Struct("=BBBB")  # inet_diag_msg before its sockid
_TAIL = Struct("=IIIII")  # expires, rqueue, wqueue, uid, inode
_BUFFER_BYTES = 1 << 17


@dataclass(frozen=True, slots=True)
class Connection:
    """One TCP or UDP socket of this network namespace."""

    state: int
    local: Addr
    local_port: int
    remote: Addr
    remote_port: int
    cgroup: int  # id of the socket's cgroup: the inode number of its directory
    handle: bytes  # family and sockid, to destroy exactly this socket
    proto: int = TCP
    user: int = 0  # who made it, as the first user namespace counts

    @property
    def listens(self) -> bool:
        """It waits for whoever comes."""
        return self.state == (TCP_LISTEN if self.proto == TCP else UDP_UNCONNECTED)


def connections() -> list[Connection]:
    """Every TCP and UDP socket of the current namespace that talks or listens, v4 and v6.

    DatapathError where sock_diag is missing.
    """
    states = {TCP: (*TALKING, TCP_LISTEN), UDP: (TCP_ESTABLISHED, UDP_UNCONNECTED)}
    found: list[Connection] = []
    with open_diag() as sock:
        for family in (socket.AF_INET, socket.AF_INET6):
            for proto, wanted in states.items():
                mask = sum(1 << state for state in wanted)
                body = _REQUEST.pack(family, proto, 0, 0, mask) + bytes(_SOCKID.size)
                send(sock, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, body)
                found += [_connection(message, proto) for message in answers(sock)]
    return found


def destroy(connection: Connection) -> None:
    """End a connection: its owner gets ECONNABORTED. One that is gone already is fine."""
    destroy_handle(connection.handle, connection.proto)


def destroy_handle(handle: bytes, proto: int = TCP) -> None:
    """The same by what names a socket: its family and sockid (see `Connection.handle`)."""
    family, sockid = handle[0], handle[1:]
    body = _REQUEST.pack(family, proto, 0, 0, 0xFFFFFFFF) + sockid
    with open_diag() as sock:
        send(sock, SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, body)
        for _ in answers(sock, gone_is_fine=True):
            pass


def split(found: list[Connection]) -> tuple[list[Connection], list[Connection]]:
    """(accepted, outgoing): a connection is accepted when something listens on its local port."""
    listening = {(c.proto, c.local_port) for c in found if c.listens}
    talking = [c for c in found if not c.listens]

    def accepted(connection: Connection) -> bool:
        served = (connection.proto, connection.local_port) in listening
        return served and connection.state != TCP_SYN_SENT

    return [c for c in talking if accepted(c)], [c for c in talking if not accepted(c)]


def cgroup_ids(top: Path) -> frozenset[int]:
    """The ids of a cgroup and everything below it."""
    return frozenset(Path(where).stat().st_ino for where, _, _ in os.walk(top))


def open_diag() -> socket.socket:
    """DatapathError where the kernel has no sock_diag."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
    except OSError as error:
        raise DatapathError(f"sock_diag is missing (CONFIG_INET_DIAG): {error.strerror}") from error
    sock.settimeout(5.0)
    return sock


def send(sock: socket.socket, kind: int, flags: int, body: bytes) -> None:
    sock.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)


def answers(
    sock: socket.socket, gone_is_fine: bool = False, *, only_one: bool = False
) -> Iterator[bytes]:
    """The bodies of what comes back; DatapathError where the kernel refuses. A dump has an end
    of its own; an exact question has one answer.
    """
    while True:
        data = sock.recv(_BUFFER_BYTES)
        while len(data) >= _HEADER.size:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            body, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                code = -int.from_bytes(body[:4], "little", signed=True)
                if code and not gone_is_fine:
                    raise DatapathError(f"sock_diag refused: {os.strerror(code)}")
                return
            yield body
            if only_one:
                return


def pack_request(
    family: int, proto: int, src: tuple[bytes, int], dst: tuple[bytes, int], cookie: bytes
) -> bytes:
    """A question for exactly one socket, in any state."""
    ports = (src[1].to_bytes(2, "big"), dst[1].to_bytes(2, "big"))
    hosts = (src[0].ljust(16, b"\0"), dst[0].ljust(16, b"\0"))
    return _REQUEST.pack(family, proto, 0, 0, 0xFFFFFFFF) + _SOCKID.pack(
        *ports, *hosts, 0, cookie
    )


def read_owner(message: bytes) -> tuple[int, int, int]:
    """User, cgroup id and inode of the socket that an answer is about."""
    tail = _MESSAGE.size + _SOCKID.size
    _, _, _, user, inode = _TAIL.unpack_from(message, tail)
    return user, _cgroup(message[tail + _TAIL.size :]), inode


def _connection(message: bytes, proto: int) -> Connection:
    family, state, _, _ = _MESSAGE.unpack_from(message)
    tail = _MESSAGE.size + _SOCKID.size
    sockid = message[_MESSAGE.size : tail]
    local_port, remote_port, local, remote, _, _ = _SOCKID.unpack(sockid)
    return Connection(
        state=state,
        local=_addr(family, local),
        local_port=int.from_bytes(local_port, "big"),
        remote=_addr(family, remote),
        remote_port=int.from_bytes(remote_port, "big"),
        cgroup=_cgroup(message[tail + _TAIL.size :]),
        handle=bytes([family]) + sockid,
        proto=proto,
        user=_TAIL.unpack_from(message, tail)[3],
    )


def _addr(family: int, raw: bytes) -> Addr:
    if family == socket.AF_INET:
        return addr_from(socket.inet_ntop(socket.AF_INET, raw[:4]))
    return Addr(raw)


def _cgroup(attributes: bytes) -> int:
    while len(attributes) >= 4:
        length = int.from_bytes(attributes[:2], "little")
        kind = int.from_bytes(attributes[2:4], "little")
        if kind == INET_DIAG_CGROUP_ID:
            return int.from_bytes(attributes[4:12], "little")
        attributes = attributes[max((length + 3) & ~3, 4) :]
    return 0
