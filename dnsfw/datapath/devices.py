"""Network devices: which there are, how their packets begin, and when that changes.

Plain ioctls and one netlink socket: they need no library and no event loop.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from dataclasses import dataclass
from enum import Enum
from struct import Struct

# linux/if_arp.h
_ETHER, _LOOPBACK = 1, 772
_WITHOUT_FRAME = frozenset(
    {
        512,  # PPP
        519,  # raw IP (cellular modems)
        768,  # IPIP
        769,  # IPv6 tunnel
        776,  # SIT
        778,  # GRE
        823,  # GRE over IPv6
        0xFFFE,  # none: tun, WireGuard
    }
)
_SIOCGIFFLAGS, _SIOCGIFHWADDR = 0x8913, 0x8927
_IFF_UP = 1
_IFREQ = Struct("16s24x")
_ANSWER = Struct("=16xH22x")  # the union's first member: sa_family, or the flags
_RTMGRP_LINK = 1
_ANY_MESSAGE = 1 << 16


class Layer(Enum):
    """Where a packet of a device begins."""

    FRAME = "l2"  # with its Ethernet header
    PACKET = "l3"  # with its IP header


@dataclass(frozen=True, slots=True)
class Device:
    index: int
    name: str
    layer: Layer | None  # None: a link type that dnsfw cannot read
    loopback: bool
    up: bool


def devices() -> tuple[Device, ...]:
    """Every device of this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        found = (_device(sock, index, name) for index, name in socket.if_nameindex())
        return tuple(device for device in found if device is not None)


def device(name: str) -> Device | None:
    """The device of this name, or None."""
    return next((d for d in devices() if d.name == name), None)


def _device(sock: socket.socket, index: int, name: str) -> Device | None:
    request = _IFREQ.pack(os.fsencode(name))
    try:
        (kind,) = _ANSWER.unpack(fcntl.ioctl(sock, _SIOCGIFHWADDR, request))
        (flags,) = _ANSWER.unpack(fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
    except OSError as error:
        if error.errno in {errno.ENODEV, errno.ENXIO}:  # it went away meanwhile
            return None
        raise
    return Device(index, name, layer_of(kind), kind == _LOOPBACK, bool(flags & _IFF_UP))


def layer_of(link_type: int) -> Layer | None:
    """How packets begin on devices of this ARPHRD number; None if dnsfw cannot read them."""
    if link_type in {_ETHER, _LOOPBACK}:
        return Layer.FRAME
    return Layer.PACKET if link_type in _WITHOUT_FRAME else None


class DeviceWatch:
    """Becomes readable when a device appears, changes or goes."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._sock.bind((0, _RTMGRP_LINK))

    def fileno(self) -> int:
        return self._sock.fileno()

    def drain(self) -> bool:
        """True if anything happened since the last call; then ask `devices()` again.

        The messages are not read for their content: a lost one must not lose a device.
        """
        happened = False
        while True:
            try:
                self._sock.recv(_ANY_MESSAGE)
            except BlockingIOError:
                return happened
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # some were lost: something happened
                    raise
            happened = True

    def close(self) -> None:
        self._sock.close()
