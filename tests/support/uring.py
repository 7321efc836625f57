"""One request through io_uring: the kernel acts later, in the sender's name (io_uring(7))."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct

_SETUP, _ENTER = 425, 426  # the same number on every architecture
_GETEVENTS = 1
_OFF_SQ, _OFF_CQ, _OFF_SQES = 0, 0x8000000, 0x10000000
_SENDMSG, _CONNECT = 9, 16
_ENTRIES = 8
_libc = ctypes.CDLL(None, use_errno=True)


def connect(sock: socket.socket, address: str, port: int) -> int:
    """IORING_OP_CONNECT; the result, a negative errno."""
    name = ctypes.create_string_buffer(_name(address, port))
    return _one(_CONNECT, sock.fileno(), ctypes.addressof(name), off=len(name) - 1)


def sendmsg(sock: socket.socket, data: bytes, address: str, port: int) -> int:
    """IORING_OP_SENDMSG; how many bytes, or a negative errno."""
    name = ctypes.create_string_buffer(_name(address, port))
    body = ctypes.create_string_buffer(data)
    vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(body), len(data)))
    header = ctypes.create_string_buffer(struct.pack(
        "=QI4xQQQQi4x", ctypes.addressof(name), len(name) - 1, ctypes.addressof(vector), 1, 0, 0, 0
    ))  # fmt: skip
    return _one(_SENDMSG, sock.fileno(), ctypes.addressof(header), length=1)


def exists() -> bool:
    """Whether this kernel lets us make a ring."""
    fd = _libc.syscall(_SETUP, 1, ctypes.create_string_buffer(120))
    if fd >= 0:
        os.close(fd)
    return fd >= 0 or ctypes.get_errno() not in {errno.ENOSYS, errno.EPERM}


def _name(address: str, port: int) -> bytes:
    if ":" in address:
        packed = socket.inet_pton(socket.AF_INET6, address)
        return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16sI", port, 0, packed, 0)
    packed = socket.inet_aton(address)
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, packed)


def _one(operation: int, fd: int, addr: int, *, length: int = 0, off: int = 0) -> int:
    params = ctypes.create_string_buffer(120)
    ring = _libc.syscall(_SETUP, _ENTRIES, params)
    if ring < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    # struct io_uring_params: sq_off at 40 (head, tail, mask, entries, flags, dropped, array)
    _, tail, _, _, _, _, array = struct.unpack_from("=7I", params, 40)
    *_, cqes = struct.unpack_from("=6I", params, 80)
    try:
        with (
            mmap.mmap(ring, array + 4 * _ENTRIES, offset=_OFF_SQ) as queue,
            mmap.mmap(ring, 64 * _ENTRIES, offset=_OFF_SQES) as entries,
            mmap.mmap(ring, cqes + 16 * 2 * _ENTRIES, offset=_OFF_CQ) as done,
        ):
            struct.pack_into("=BBHiQQIIQ", entries, 0, operation, 0, 0, fd, off, addr, length, 0, 1)
            struct.pack_into("=I", queue, array, 0)
            struct.pack_into("=I", queue, tail, 1)
            if _libc.syscall(_ENTER, ring, 1, 1, _GETEVENTS, None, 0) < 0:
                raise OSError(ctypes.get_errno(), "io_uring_enter")
            result: int
            _, result, _ = struct.unpack_from("=QiI", done, cqes)
            return result
    finally:
        os.close(ring)
