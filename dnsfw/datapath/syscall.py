"""The bpf(2) system call itself: its commands, its errors, its way in and out."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from enum import IntEnum
from types import TracebackType

from dnsfw.errors import DatapathError

_NUMBERS = {
    "x86_64": 321,
    "i686": 357,
    "aarch64": 280,
    "riscv64": 280,
    "armv7l": 386,
    "ppc64le": 361,
    "s390x": 351,
}
_ENOTSUPP = 524  # the kernel's own: not in errno(3)


class Cmd(IntEnum):
    MAP_CREATE = 0
    MAP_LOOKUP = 1
    MAP_UPDATE = 2
    MAP_DELETE = 3
    MAP_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    OBJ_INFO = 15
    PROG_QUERY = 16
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    ENABLE_STATS = 32
    LINK_DETACH = 34


class MapType(IntEnum):
    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    SK_STORAGE = 24
    RINGBUF = 27


class ProgType(IntEnum):
    SOCKET_FILTER = 1
    SCHED_CLS = 3
    XDP = 6
    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    CGROUP_SOCK_ADDR = 18
    SYSCALL = 31


class AttachType(IntEnum):
    CGROUP_INET_INGRESS = 0
    CGROUP_INET_EGRESS = 1
    CGROUP_INET_SOCK_CREATE = 2
    CGROUP_INET4_BIND = 8
    CGROUP_INET6_BIND = 9
    CGROUP_INET4_CONNECT = 10
    CGROUP_INET6_CONNECT = 11
    CGROUP_UDP4_SENDMSG = 14
    CGROUP_UDP6_SENDMSG = 15
    CGROUP_UDP4_RECVMSG = 19
    CGROUP_UDP6_RECVMSG = 20
    CGROUP_INET4_GETPEERNAME = 29
    CGROUP_INET6_GETPEERNAME = 30
    XDP = 37
    TCX_INGRESS = 46
    TCX_EGRESS = 47


_REMEDIES = {
    errno.EMFILE: "let it have 1024 open files or more (`ulimit -n`, LimitNOFILE= of a unit)",
    errno.ENFILE: "the machine has too many files open (sysctl fs.file-max)",
}


class BpfError(DatapathError):
    """A bpf(2) call failed; `errno` says how, `log` what the verifier wrote."""

    def __init__(self, what: str, number: int, log: str = "") -> None:
        name = errno.errorcode.get(number, "ENOTSUPP" if number == _ENOTSUPP else str(number))
        remedy = _REMEDIES.get(number, "")
        tail = f"{remedy and '; '}{remedy}" + (f"\n{log}" if log else "")
        super().__init__(f"{what}: {name} ({os.strerror(number)}){tail}")
        self.errno = number
        self.log = log


_libc = ctypes.CDLL(None, use_errno=True)
syscall = _libc.syscall
syscall.restype = ctypes.c_long
NUMBER = _NUMBERS.get(platform.machine(), 321)


def address(data: bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Where these bytes are; the caller keeps them alive over the call."""
    if data is None:
        return 0
    if isinstance(data, bytes):
        return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    return ctypes.addressof(data)


def call(cmd: Cmd, attr: bytes, what: str) -> int:
    result = int(syscall(NUMBER, int(cmd), ctypes.c_char_p(attr), len(attr)))
    if result < 0:
        raise BpfError(what, ctypes.get_errno())
    return result


def call_back(cmd: Cmd, attr: bytes, what: str) -> bytes:
    """The attribute as the kernel left it: some commands answer inside it."""
    buffer = ctypes.create_string_buffer(attr, len(attr))
    if syscall(NUMBER, int(cmd), buffer, len(attr)) < 0:
        raise BpfError(what, ctypes.get_errno())
    return buffer.raw


def info(fd: int, size: int) -> bytes:
    out = ctypes.create_string_buffer(size)
    attr = struct.pack("=IIQ", fd, size, ctypes.addressof(out))
    call_back(Cmd.OBJ_INFO, attr, "read of an object's description")
    return out.raw


class Closing:
    """Close this descriptor at the end of a with block."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> int:
        return self.fd

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.fd)
