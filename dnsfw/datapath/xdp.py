"""XDP on a network card: DNS questions are answered there before the host's own stack sees them.

Native where the driver can, generic elsewhere. A veth takes native programs, but drops what
they send back unless its other end polls (veth_xdp_xmit, Linux 4.19 and later), so it is
generic there.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from pathlib import Path

from dnsfw.datapath import links
from dnsfw.datapath.bpf import Program
from dnsfw.datapath.change import Change
from dnsfw.datapath.devices import Device, carried_by
from dnsfw.datapath.hooks import HookState, link_note, take_link
from dnsfw.datapath.syscall import AttachType, BpfError
from dnsfw.errors import DatapathError
from dnsfw.values import dataclass

__all__ = ["XdpPlace"]

# linux/if_link.h
_GENERIC, _NATIVE = 1 << 1, 1 << 2
# linux/ethtool.h
_SIOCETHTOOL = 0x8946
_GDRVINFO = 3
_DRVINFO_BYTES = 196
_DRIVER = slice(4, 36)
_IFREQ = struct.Struct("16sQ16x")
_NOT_BACK = frozenset({b"veth"})


@dataclass(frozen=True, slots=True)
class XdpPlace:
    """The program in front of a device's stack."""

    program: str
    device: Device
    netns: int

    how = "xdp"
    feature = "XDP links: Linux 5.9 or later, and no other XDP program on the device"

    @property
    def target(self) -> str:
        return f"{self.device.name} xdp"

    @property
    def pin(self) -> str:
        return f"xdp_{self.netns}_{self.device.index}"

    def why_not(self) -> str:
        """Why it must not stand there. A tag that the card or the stack took off the frame is not
        shown to it, nor whose address a frame is for: so it would take who is in a VLAN, or asks
        a macvlan of ours, for who is behind the device.
        """
        try:
            carried = carried_by(self.device.index)
        except DatapathError as error:
            return str(error)
        if not carried:
            return ""
        return f"the device carries {', '.join(carried)}, and XDP cannot tell which; TC answers"

    def absent(self, note: str) -> HookState:
        return HookState(self.program, self.target, self.how, False, note)

    def take(self, program: Program, directory: Path, change: Change) -> None:
        take_link(
            directory / self.pin,
            program,
            self.device.index,
            lambda: _attach(program.fd, self.device),
            change,
        )

    def state(self, program: Program, directory: Path) -> HookState:
        note = link_note(directory / self.pin, program, self.device.index)
        return HookState(self.program, self.target, self.how, not note, note)

    def lead(self, program: Program, directory: Path) -> None:
        """A device has one."""


def _attach(program_fd: int, device: Device) -> int:
    if driver(device.name) not in _NOT_BACK:
        try:
            return links.link_create(program_fd, device.index, AttachType.XDP, flags=_NATIVE)
        except BpfError:
            pass  # the driver cannot, or not with this MTU
    return links.link_create(program_fd, device.index, AttachType.XDP, flags=_GENERIC)


def driver(name: str) -> bytes:
    """What drives a device; nothing where nobody says."""
    info = array.array("B", _GDRVINFO.to_bytes(4, "little") + bytes(_DRVINFO_BYTES - 4))
    request = _IFREQ.pack(os.fsencode(name), info.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
        except OSError:
            return b""
    return info.tobytes()[_DRIVER].rstrip(b"\0")
