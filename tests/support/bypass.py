"""Senders that no hook of their own namespace sees: AF_PACKET past the qdisc, and AF_XDP."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from collections.abc import Iterable

_SOL_PACKET, _QDISC_BYPASS = 263, 20
# linux/if_xdp.h
_AF_XDP, _SOL_XDP = 44, 283
_MMAP_OFFSETS, _TX_RING, _UMEM_REG, _FILL_RING, _COMPLETION_RING = 1, 3, 4, 5, 6
_PGOFF_TX = 0x80000000
_COPY = 1 << 1
_FRAME, _COUNT = 2048, 16
_libc = ctypes.CDLL(None, use_errno=True)


def past_the_qdisc(device: str, frames: Iterable[bytes]) -> int:
    """PACKET_QDISC_BYPASS: straight to the driver, past TC egress."""
    sent = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        sock.bind((device, 0))
        for frame in frames:
            sent += sock.send(frame) > 0
    return sent


def by_xdp(device: str, frames: list[bytes]) -> int:
    """AF_XDP transmit in copy mode: frames from shared memory, past everything."""
    with socket.socket(_AF_XDP, socket.SOCK_RAW) as sock, mmap.mmap(-1, _FRAME * _COUNT) as umem:
        base = ctypes.addressof(ctypes.c_char.from_buffer(umem))
        registered = struct.pack("=QQIIII", base, _FRAME * _COUNT, _FRAME, 0, 0, 0)
        sock.setsockopt(_SOL_XDP, _UMEM_REG, registered)
        for ring in (_FILL_RING, _COMPLETION_RING, _TX_RING):
            sock.setsockopt(_SOL_XDP, ring, _COUNT)
        # rx, tx, fill, completion: producer, consumer, descriptors, flags
        offsets = struct.unpack("=16Q", sock.getsockopt(_SOL_XDP, _MMAP_OFFSETS, 128))
        producer, _, descriptors, _ = offsets[4:8]
        with mmap.mmap(sock.fileno(), descriptors + _COUNT * 16, offset=_PGOFF_TX) as ring_:
            _bind(sock, device)
            for i, frame in enumerate(frames):
                umem[i * _FRAME : i * _FRAME + len(frame)] = frame
                struct.pack_into("=QII", ring_, descriptors + i * 16, i * _FRAME, len(frame), 0)
            struct.pack_into("=I", ring_, producer, len(frames))
            if _libc.sendto(sock.fileno(), None, 0, socket.MSG_DONTWAIT, None, 0) < 0:
                raise OSError(ctypes.get_errno(), "sendto")
    return len(frames)


def _bind(sock: socket.socket, device: str) -> None:
    """Python knows no addresses of this family."""
    address = struct.pack("=HHIII", _AF_XDP, _COPY, socket.if_nametoindex(device), 0, 0)
    if _libc.bind(sock.fileno(), address, len(address)) != 0:
        raise OSError(ctypes.get_errno(), f"bind of AF_XDP: {os.strerror(ctypes.get_errno())}")


def has_xdp_sockets() -> bool:
    """Whether this kernel makes AF_XDP sockets at all."""
    try:
        socket.socket(_AF_XDP, socket.SOCK_RAW).close()
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return False
        raise
    return True
