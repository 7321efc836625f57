"""Who may ask as `host` where strangers can reach a listener (ATTACKS 104).

On loopback everybody is this host. Elsewhere a query without a subject of its own is the
host's or its neighbour's: one that comes from farther away is nobody's, and refused. So an
address on a public interface is no open resolver, and a forged source cannot make it one
that multiplies. Who is farther away and meant has a role: `subjects: [{source: …}]`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Protocol

from dnsfw.model import HOST, NO_ROLE, RoleId

__all__ = ["ROUTES4", "ROUTES6", "Held", "Neighbours", "connected"]

ROUTES4, ROUTES6 = Path("/proc/net/route"), Path("/proc/net/ipv6_route")
_GATEWAY, _REJECT = 0x2, 0x200  # linux/route.h
_WIDEST = {4: 8, 6: 32}  # a shorter prefix is a way out, not a neighbourhood
_MOST = 4096  # addresses that are remembered

_CHUNK = 1 << 16

Net = IPv4Network | IPv6Network


class Routes(Protocol):
    """Where they stand: a Path, or one that is held."""

    def read_text(self) -> str: ...


class Held:
    """A file of /proc that stays open, for who can open none later; it says what is true now."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1  # no such protocol here

    def read_text(self) -> str:
        """OSError where there is none."""
        parts: list[bytes] = []
        while part := os.pread(self._fd, _CHUNK, sum(map(len, parts))):
            parts.append(part)
        return b"".join(parts).decode()


class Neighbours:
    """Whose address is near; told by `forget` when routes may have changed."""

    def __init__(self, routes4: Routes = ROUTES4, routes6: Routes = ROUTES6) -> None:
        self.near: set[int] = set()  # senders of whole batches that were let in, as numbers
        self.strangers = 0
        self._paths = routes4, routes6
        self._nets: tuple[Net, ...] | None = None
        self._known: dict[str, bool] = {}

    def forget(self) -> None:
        self._nets = None
        self._known.clear()
        self.near.clear()

    def role(self, role: RoleId, address: str) -> RoleId:
        """The role of a query, as far as its sender's address lets it have one."""
        if role != HOST or self.is_near(address):
            return role
        self.strangers += 1
        return NO_ROLE

    def is_near(self, address: str) -> bool:
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
                self.near.clear()
            known = self._known[address] = self._look(address)
        return known

    def _look(self, address: str) -> bool:
        if self._nets is None:
            self._nets = tuple(connected(*self._paths))
        addr = ip_address(address.partition("%")[0])
        return addr.is_loopback or addr.is_link_local or any(addr in net for net in self._nets)


def connected(routes4: Routes = ROUTES4, routes6: Routes = ROUTES6) -> Iterator[Net]:
    """The networks that devices of this host are on."""
    for line in _lines(routes4)[1:]:
        words = line.split()
        flags = int(words[3], 16)
        if not flags & (_GATEWAY | _REJECT):
            packed = bytes.fromhex(words[1])[::-1]
            net = IPv4Network((packed, bin(int(words[7], 16)).count("1")), strict=False)
            if net.prefixlen >= _WIDEST[4]:
                yield net
    for line in _lines(routes6):
        words = line.split()
        flags = int(words[8], 16)
        if not flags & (_GATEWAY | _REJECT) and int(words[1], 16) >= _WIDEST[6]:
            net6 = ip_network((bytes.fromhex(words[0]), int(words[1], 16)), strict=False)
            if not net6.is_multicast:
                yield net6


def _lines(path: Routes) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
