"""Where port 53 leads when it is taken over: the sockets of ours in each network namespace.

The hooks rewrite a query's destination to a door of the sender's own namespace, because
loopback is another one in every namespace. A door is a listener too: what goes there
passes, and is marked with the role of who asks.
"""

from __future__ import annotations

from dnsfw.datapath import abi
from dnsfw.datapath.listeners import Listener, Listeners
from dnsfw.datapath.swap import Table
from dnsfw.errors import DatapathError
from dnsfw.model import Addr

__all__ = ["Doors"]


class Doors:
    """The only writer of `dnsfw_doors`."""

    def __init__(self, doors: Table, listeners: Listeners) -> None:
        self._doors = doors
        self._listeners = listeners

    def standing(self) -> dict[int, abi.Doors]:
        """By namespace, what queries are led to now; of an earlier process too."""
        return {_cookie(key): abi.Doors.unpack(value) for key, value in self._doors.items()}

    def open(self, netns: int, doors: abi.Doors) -> None:
        """From the next query on, this namespace's go there. DatapathError: the table is full.

        Listeners first: a query that is led to a door must find that it may pass.
        """
        value = self._doors.lookup(_key(netns))
        before = set() if value is None else _listeners(abi.Doors.unpack(value))
        wanted = _listeners(doors)
        self._listeners.admit(netns, wanted)
        try:
            self._doors.update(_key(netns), doors.pack())
        except DatapathError:
            self._listeners.dismiss(netns, wanted - before)
            raise
        self._listeners.dismiss(netns, before - wanted)

    def close(self, netns: int) -> None:
        """Queries of this namespace are refused until doors open there again."""
        before = self._doors.lookup(_key(netns))
        if before is not None:
            self._doors.delete(_key(netns))
            self._listeners.dismiss(netns, _listeners(abi.Doors.unpack(before)))


def _listeners(doors: abi.Doors) -> set[Listener]:
    places = ((doors.addr4, (*doors.udp4, doors.tcp4)), (doors.addr6, (*doors.udp6, doors.tcp6)))
    return {Listener(Addr(addr), port) for addr, ports in places for port in ports if port}


def _key(netns: int) -> bytes:
    return netns.to_bytes(8, "little")


def _cookie(key: bytes) -> int:
    return int.from_bytes(key, "little")
