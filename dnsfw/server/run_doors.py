"""The DNS sockets of one run: doors in the command's network namespace, v4 and v6."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from dnsfw.datapath import abi
from dnsfw.datapath.askers import netns_cookie_of
from dnsfw.errors import DatapathError
from dnsfw.model import addr_from
from dnsfw.server.address import Endpoint
from dnsfw.server.tcp import TcpListener
from dnsfw.server.udp import UdpListener

__all__ = ["RunDoors"]

_UDP_DOORS = int(abi.Limit.DOORS)
_FAMILIES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
Wanted = tuple[int, int, Any]  # family, type, address
Make = Callable[[Sequence[Wanted]], list[socket.socket]]


class RunDoors:
    """Bound from the start, so that `fill` can tell the hooks."""

    def __init__(self, make: Make | None = None) -> None:
        """`make` gives sockets of another network namespace. DatapathError: lo is down."""
        self.listeners: list[UdpListener | TcpListener] = []
        self.doors = abi.Doors(bytes(16), bytes(16), (0,) * _UDP_DOORS, (0,) * _UDP_DOORS, 0, 0)
        self.netns = 0
        try:
            for family, address in _FAMILIES:
                self._open(make or _make, family, address)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()

    def _open(self, make: Make, family: int, address: str) -> None:
        kinds = [*[socket.SOCK_DGRAM] * _UDP_DOORS, socket.SOCK_STREAM]
        try:
            made = make([(family, kind, (address, 0)) for kind in kinds])
        except (OSError, DatapathError):
            if family == socket.AF_INET6:  # without IPv6 nobody can ask over it
                return
            raise DatapathError(
                "nothing can listen on 127.0.0.1 here; remedy: ip link set lo up"
            ) from None
        self.netns = netns_cookie_of(made[0].fileno())
        ports = []
        for sock in made:
            sock.setblocking(False)
            endpoint = Endpoint(ip_address(address), sock.getsockname()[1])
            ports.append(endpoint.port)
            kind = UdpListener if sock.type == socket.SOCK_DGRAM else TcpListener
            self.listeners.append(kind(endpoint, bound=sock))
        *udp, tcp = ports
        if family == socket.AF_INET:
            self.doors = self.doors._replace(addr4=addr_from(address), udp4=tuple(udp), tcp4=tcp)
        else:
            self.doors = self.doors._replace(addr6=addr_from(address), udp6=tuple(udp), tcp6=tcp)


def _make(wanted: Sequence[Wanted]) -> list[socket.socket]:
    made: list[socket.socket] = []
    try:
        for family, kind, address in wanted:
            made.append(socket.socket(family, kind))
            if family == socket.AF_INET6:
                made[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made[-1].bind(address)
    except OSError:
        for sock in made:
            sock.close()
        raise
    return made
