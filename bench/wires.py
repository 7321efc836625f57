"""Sending many datagrams with almost no Python between them: sendmmsg(2) by ctypes."""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Callable, Sequence

_MOST = 1024  # messages of one call: UIO_MAXIOV


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr of a 64-bit machine."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("pad", ctypes.c_int),
        ("sent", ctypes.c_uint32),
    )


def burst(fd: int, to: Sequence[tuple[str, int]], payload: bytes) -> Callable[[float], float]:
    """A function that sends to all of these in turn for some seconds and says how many
    nanoseconds of CPU a datagram took, all that the kernel does inside the call included.
    OSError if one is refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    data = ctypes.create_string_buffer(payload, len(payload))
    iovec = _Iovec(ctypes.addressof(data), len(payload))
    names = ctypes.create_string_buffer(
        b"".join(
            struct.pack("=H", socket.AF_INET)
            + struct.pack(">H", port)
            + socket.inet_aton(address)
            + bytes(8)
            for address, port in to
        )
    )
    messages = (_Message * len(to))()
    for i, message in enumerate(messages):
        message.name = ctypes.addressof(names) + 16 * i
        message.name_length = 16
        message.iov = ctypes.addressof(iovec)
        message.iov_length = 1
    kept = (data, iovec, names)  # the kernel reads through bare addresses

    def send(seconds: float) -> float:
        clock = time.thread_time_ns
        assert kept
        sent = 0
        start = clock()
        while (now := clock()) - start < seconds * 1e9 or not sent:
            at = 0
            while at < len(to):
                count = min(_MOST, len(to) - at)
                done = libc.sendmmsg(fd, ctypes.byref(messages[at]), count, 0)
                if done < 0:
                    raise OSError(ctypes.get_errno(), f"after {at} of {len(to)} datagrams")
                at += done
            sent += at
        return (now - start) / sent

    return send
