"""Network devices and addresses: which there are, and when that changes.

Plain ioctls and one netlink socket: they need no library and no event loop.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from enum import Enum
from ipaddress import ip_address
from struct import Struct

from dnsfw.errors import DatapathError
from dnsfw.model import Addr, addr_from
from dnsfw.values import dataclass

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
# CAN buses and the kernel's own monitors: no IP packet can leave by them.
_WITHOUT_IP = frozenset({280, 824, 826})
_SIOCGIFFLAGS, _SIOCGIFHWADDR = 0x8913, 0x8927
_IFF_UP = 1
_IFREQ = Struct("16s24x")
_ANSWER = Struct("=16xH22x")  # the union's first member: sa_family, or the flags
# RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_GROUPS = 0x1 | 0x10 | 0x100
_ANY_MESSAGE = 1 << 16

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
_NLMSG = Struct("=IHHII")
_IFADDRMSG = Struct("=BBBBI")
_RTATTR = Struct("=HH")
_IFINFOMSG_BYTES = 16
_RTM_GETLINK, _RTM_GETADDR = 18, 22
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 5, 10, 18, 1
_IFLA_LINK_NETNSID = 37  # what is below lies in another namespace
# Devices that take frames off another one: by their tag, or by the address they are for.
_UPPER_KINDS = frozenset({b"vlan", b"macvlan", b"macvtap", b"ipvlan", b"ipvtap", b"macsec"})
# Ports behind which a guest sits; a bridge's other ports lead out of this host.
_GUEST_KINDS = frozenset({b"veth", b"tun", b"netkit", b"macvtap"})


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
    carries_ip: bool = True


def devices() -> tuple[Device, ...]:
    """Every device of this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        found = (_device(sock, index, name) for index, name in socket.if_nameindex())
        return tuple(device for device in found if device is not None)


def device(name: str) -> Device | None:
    """The device of this name, or None."""
    return next((d for d in devices() if d.name == name), None)


def guardable() -> tuple[str, ...]:
    """The names of all devices that a packet could leave this host by."""
    return tuple(d.name for d in devices() if d.carries_ip and not d.loopback)


def _device(sock: socket.socket, index: int, name: str) -> Device | None:
    request = _IFREQ.pack(os.fsencode(name))
    try:
        (kind,) = _ANSWER.unpack(fcntl.ioctl(sock, _SIOCGIFHWADDR, request))
        (flags,) = _ANSWER.unpack(fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
    except OSError as error:
        if error.errno in {errno.ENODEV, errno.ENXIO}:  # it went away meanwhile
            return None
        raise
    up, carries_ip = bool(flags & _IFF_UP), kind not in _WITHOUT_IP
    return Device(index, name, layer_of(kind), kind == _LOOPBACK, up, carries_ip)


def layer_of(link_type: int) -> Layer | None:
    """How packets begin on devices of this ARPHRD number; None if dnsfw cannot read them."""
    if link_type in {_ETHER, _LOOPBACK}:
        return Layer.FRAME
    return Layer.PACKET if link_type in _WITHOUT_FRAME else None


def addresses() -> frozenset[Addr]:
    """Every address of this host in this network namespace.

    DatapathError if the kernel's list cannot be read whole.
    """
    found: set[Addr] = set()
    for body in _dump(_RTM_GETADDR, bytes(_IFADDRMSG.size), "addresses"):
        found.update(_addresses(body))
    return frozenset(found)


def guest_ports() -> dict[str, tuple[str, ...]]:
    """The ports of each bridge that lead to guests, by the bridge's name.

    DatapathError if the kernel's list cannot be read whole.
    """
    names: dict[int, str] = {}
    ports: list[tuple[str, int]] = []
    for body in _dump(_RTM_GETLINK, bytes(_IFINFOMSG_BYTES), "devices"):
        attributes = _attributes(body, _IFINFOMSG_BYTES)
        name = attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
        names[int.from_bytes(body[4:8], sys.byteorder)] = name
        kind = _attributes(attributes.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"")
        if _IFLA_MASTER in attributes and kind.rstrip(b"\0") in _GUEST_KINDS:
            ports.append((name, int.from_bytes(attributes[_IFLA_MASTER], sys.byteorder)))
    found: dict[str, tuple[str, ...]] = {}
    for name, master in ports:
        bridge = names.get(master, "")
        found[bridge] = (*found.get(bridge, ()), name)
    return found


def carried_by(index: int) -> tuple[str, ...]:
    """The devices of this namespace that take frames off this one, before or after it sees them.

    DatapathError if the kernel's list cannot be read whole.
    """
    found = []
    for body in _dump(_RTM_GETLINK, bytes(_IFINFOMSG_BYTES), "devices"):
        attributes = _attributes(body, _IFINFOMSG_BYTES)
        below = int.from_bytes(attributes.get(_IFLA_LINK, b""), sys.byteorder)
        kind = _attributes(attributes.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"")
        here = below == index and _IFLA_LINK_NETNSID not in attributes
        if here and kind.rstrip(b"\0") in _UPPER_KINDS:
            found.append(attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"))
    return tuple(found)


def _dump(kind: int, head: bytes, what: str) -> Iterator[bytes]:
    """Every object of a kind, as rtnetlink(7) lists them."""
    request = _NLMSG.pack(_NLMSG.size + len(head), kind, _DUMP, 1, 0)
    how = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, how, socket.NETLINK_ROUTE) as sock:
        sock.sendto(request + head, (0, 0))
        while True:
            data = sock.recv(_ANY_MESSAGE)
            for message, body in _messages(data):
                if message == _NLMSG_DONE:
                    return
                if message == _NLMSG_ERROR:
                    raise DatapathError(f"the kernel does not list this host's {what}")
                yield body


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each netlink message, see netlink(7)."""
    at = 0
    while at + _NLMSG.size <= len(data):
        length, kind, *_ = _NLMSG.unpack_from(data, at)
        yield kind, data[at + _NLMSG.size : at + length]
        at += max(_aligned(length), _NLMSG.size)


def _addresses(body: bytes) -> Iterator[Addr]:
    """IFA_LOCAL and IFA_ADDRESS; they differ on point-to-point devices, see rtnetlink(7)."""
    found = _attributes(body, _IFADDRMSG.size)
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if packed:
        yield addr_from(ip_address(packed))


def _attributes(body: bytes, at: int = 0) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at + _RTATTR.size <= len(body):
        length, kind = _RTATTR.unpack_from(body, at)
        found[kind & _TYPE_MASK] = body[at + _RTATTR.size : at + length]
        at += max(_aligned(length), _RTATTR.size)
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3


class DeviceWatch:
    """Becomes readable when a device or an address appears, changes or goes."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._sock.bind((0, _GROUPS))

    def fileno(self) -> int:
        return self._sock.fileno()

    def drain(self) -> bool:
        """True if anything happened since the last call; then ask `devices()` and
        `addresses()` again.

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
