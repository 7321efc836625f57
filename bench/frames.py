"""Frames made in the kernel: load/frames.bpf.c, loaded, attached and run.

BPF_PROG_TEST_RUN with live frames sends each out of a device as if a network card had; the
replies are counted by a program on the same device. A call takes some 20 ms to set up, so one
must send hundreds of thousands.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
from pathlib import Path

from zone import query

from dnsfw.datapath import bpf
from dnsfw.datapath.syscall import Cmd, call_back
from tests.support.netlab import Lab, Netns

_LIVE_FRAMES = 1 << 1  # BPF_F_TEST_XDP_LIVE_FRAMES
_ROOM = 96  # of a frame: enum FRAME
_BATCH = 64
_DRIVER = 1 << 2  # XDP_FLAGS_DRV_MODE: the driver's own, never the slow way
_COUNTS = 3


class Generator:
    """Sends queries out of one device of a namespace and counts what comes back."""

    def __init__(
        self, lab: Lab, netns: Netns, device: str, to: tuple[str, str], source: str, name: str,
        names: int,
    ) -> None:
        """`to` is (MAC, address) of the server; `name` is n000.ZONE, whose digits go round."""
        self._netns = netns
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
        for function in ("bpf_object__open_file", "bpf_object__find_program_by_name",
                         "bpf_object__find_map_by_name"):
            getattr(lib, function).restype = ctypes.c_void_p
        made = lab.scratch / "frames.o"
        source_file = Path(__file__).with_name("load") / "frames.bpf.c"
        machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True)
        subprocess.run(
            ["clang", "-O2", "-g", "-target", "bpf",
             f"-I/usr/include/{machine.stdout.strip()}-linux-gnu", "-c", str(source_file),
             "-o", str(made)], check=True,
        )
        obj = ctypes.c_void_p(lib.bpf_object__open_file(str(made).encode(), None))
        if not obj or lib.bpf_object__load(obj):
            raise OSError(ctypes.get_errno(), f"load of {made}")
        lab.closing(lib.bpf_object__close, obj)
        self._make = self._fd(lib, obj, "program", b"make")
        count = self._fd(lib, obj, "program", b"count")
        plans = bpf.map_of(self._fd(lib, obj, "map", b"plans"))
        self._counts = bpf.map_of(self._fd(lib, obj, "map", b"counts"))
        with netns.entered():
            self._index = socket.if_nametoindex(device)
            attach(self._index, count)
        frame = _frame(mac_of(netns, device), to[0], source, to[1], name)
        self._length = len(frame)
        plans.update(bytes(4), struct.pack("=II", len(frame), names) + frame.ljust(_ROOM, b"\0"))

    @staticmethod
    def _fd(lib: ctypes.CDLL, obj: ctypes.c_void_p, kind: str, name: bytes) -> int:
        found = getattr(lib, f"bpf_object__find_{kind}_by_name")(obj, name)
        fd: int = getattr(lib, f"bpf_{kind}__fd")(ctypes.c_void_p(found))
        return os.dup(fd)

    def run(self, frames: int) -> float:
        """Send so many; how many nanoseconds each took. OSError if the kernel cannot."""
        data = bytes(_ROOM)
        ctx = struct.pack("=IIIIII", 0, len(data), 0, self._index, 0, 0)
        buffer, context = ctypes.create_string_buffer(data), ctypes.create_string_buffer(ctx)
        attr = struct.pack(
            "=IIIIQQIIIIQQIII4x", self._make, 0, len(data), 0, ctypes.addressof(buffer), 0,
            frames, 0, len(ctx), 0, ctypes.addressof(context), 0, _LIVE_FRAMES, 0, _BATCH,
        )
        with self._netns.entered():
            back = call_back(Cmd.PROG_TEST_RUN, attr, "a run with live frames")
        duration: int = struct.unpack_from("=I", back, 36)[0]
        return float(duration)

    def counts(self) -> tuple[int, int, int]:
        """Made, replies, and those that were no answer, since the start."""
        found = []
        for key in range(_COUNTS):
            value = self._counts.lookup(struct.pack("=I", key)) or b""
            found.append(sum(struct.unpack(f"={len(value) // 8}Q", value)))
        return found[0], found[1], found[2]


def attach(index: int, program: int) -> None:
    """A native XDP program on a device of this namespace; it stays with the device."""
    lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    if lib.bpf_xdp_attach(index, program, _DRIVER, None):
        raise OSError(ctypes.get_errno(), "the device takes no native XDP program")


def mac_of(netns: Netns, device: str) -> str:
    """The hardware address of a device."""
    done = netns.run(["ip", "-j", "link", "show", device])
    address: str = json.loads(done.stdout)[0]["address"]
    return address


def _frame(source_mac: str, to_mac: str, source: str, to: str, name: str) -> bytes:
    """Ethernet, IPv4, UDP without a checksum, and the query."""
    wire = query(name)
    udp = struct.pack(">HHHH", 40000, 53, 8 + len(wire), 0) + wire
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0,
        socket.inet_aton(source), socket.inet_aton(to),
    )
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~total & 0xFFFF) + head[12:]
    ether = bytes.fromhex(to_mac.replace(":", "") + source_mac.replace(":", "")) + b"\x08\x00"
    return ether + head + udp
