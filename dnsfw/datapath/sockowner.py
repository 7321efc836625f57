"""Whose socket a datagram or a connection came from, where it is one of this namespace.

For people to read, never to judge by: a socket may have been passed on, and a port taken
again. One question to sock_diag takes about ten microseconds (linux/inet_diag.h).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import ip_address

from dnsfw.datapath.sockdiag import (
    NLM_F_REQUEST,
    NO_COOKIE,
    SOCK_DIAG_BY_FAMILY,
    TCP,
    UDP,
    answers,
    open_diag,
    pack_request,
    read_owner,
    send,
)
from dnsfw.errors import DatapathError
from dnsfw.values import dataclass

__all__ = ["Owner", "SocketOwners"]

_PATIENCE = 0.05  # seconds; the kernel answers in the call itself


@dataclass(frozen=True, slots=True)
class Owner:
    """Who made a socket, and where it belongs."""

    user: int
    cgroup: int  # id: the inode of its directory; 0 where the kernel does not say
    inode: int  # what /proc/PID/fd calls it


class SocketOwners:
    """Keeps one netlink socket open; a kernel without sock_diag knows nobody."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        with suppress(DatapathError):
            self._sock = open_diag()
            self._sock.settimeout(_PATIENCE)

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def find(self, proto: int, client: tuple[str, int], server: tuple[str, int]) -> Owner | None:
        """The socket at `client` that speaks to `server`; None where there is none here."""
        if self._sock is None or proto not in (TCP, UDP):
            return None
        try:
            theirs, ours = _packed(*client), _packed(*server)
        except ValueError:
            return None
        if len(theirs[0]) != len(ours[0]):
            return None
        # UDP is looked up as the packet that would reach the client, TCP as the socket's own
        # pair: "src and dst are swapped for historical reasons" (net/ipv4/udp_diag.c).
        first, second = (theirs, ours) if proto == TCP else (ours, theirs)
        family = socket.AF_INET6 if len(theirs[0]) == 16 else socket.AF_INET
        body = pack_request(family, proto, first, second, NO_COOKIE)
        try:
            send(self._sock, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, body)
            for message in answers(self._sock, only_one=True):
                return Owner(*read_owner(message))
        except DatapathError:  # ENOENT: of another host, or gone
            return None
        except OSError:
            self.close()
        return None


def _packed(address: str, port: int) -> tuple[bytes, int]:
    return ip_address(address.partition("%")[0]).packed, port
