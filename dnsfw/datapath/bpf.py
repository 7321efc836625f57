"""The bpf(2) calls that dnsfw makes, on plain descriptors and without a library.

Every failure is a `BpfError` that keeps the errno. A `Map` is one system call
an operation (about 2 µs), batches where the table type has them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType

from dnsfw.errors import DatapathError

__all__ = [
    "AttachType",
    "BpfError",
    "LinkInfo",
    "Map",
    "MapType",
    "ProgType",
    "Program",
    "RunResult",
    "has_helper",
    "link_create",
    "link_detach",
    "link_info",
    "link_update",
    "map_of",
    "obj_get",
    "pin",
    "possible_cpus",
    "prog_attach",
    "prog_by_id",
    "prog_detach",
    "prog_id",
    "prog_query",
    "prog_test_run",
    "program_of",
]

_SYSCALL = {
    "x86_64": 321,
    "i686": 357,
    "aarch64": 280,
    "riscv64": 280,
    "armv7l": 386,
    "ppc64le": 361,
    "s390x": 351,
}
_LOG_BYTES = 1 << 16
_BATCH = 4096  # elements a batch call carries: 0.5 MB of the widest table
_QUERY_ROOM = 64  # programs at one hook
_LINK_CGROUP = 3
_ENOTSUPP = 524  # the kernel's own: not in errno(3)


class Cmd(IntEnum):
    MAP_LOOKUP = 1
    MAP_UPDATE = 2
    MAP_DELETE = 3
    MAP_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_ATTACH = 8
    PROG_DETACH = 9
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    OBJ_INFO = 15
    PROG_QUERY = 16
    MAP_FREEZE = 22
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_DETACH = 34


class MapType(IntEnum):
    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LPM_TRIE = 11
    SK_STORAGE = 24
    RINGBUF = 27


class ProgType(IntEnum):
    SCHED_CLS = 3
    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    CGROUP_SOCK_ADDR = 18


class AttachType(IntEnum):
    CGROUP_INET_INGRESS = 0
    CGROUP_INET_EGRESS = 1
    CGROUP_INET_SOCK_CREATE = 2
    CGROUP_INET4_CONNECT = 10
    CGROUP_INET6_CONNECT = 11
    CGROUP_UDP4_SENDMSG = 14
    CGROUP_UDP6_SENDMSG = 15
    TCX_INGRESS = 46
    TCX_EGRESS = 47


class BpfError(DatapathError):
    """A bpf(2) call failed; `errno` says how, `log` what the verifier wrote."""

    def __init__(self, what: str, number: int, log: str = "") -> None:
        name = errno.errorcode.get(number, "ENOTSUPP" if number == _ENOTSUPP else str(number))
        tail = f"\n{log}" if log else ""
        super().__init__(f"{what}: {name} ({os.strerror(number)}){tail}")
        self.errno = number
        self.log = log


_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_number = _SYSCALL.get(platform.machine(), 321)


class _Element(ctypes.Structure):
    """bpf_attr of the four element commands."""

    _fields_ = (
        ("fd", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("key", ctypes.c_char_p),
        ("value", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
    )


_ELEMENT_SIZE = ctypes.sizeof(_Element)


def _address(data: bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Where these bytes are; the caller keeps them alive over the call."""
    if data is None:
        return 0
    if isinstance(data, bytes):
        return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    return ctypes.addressof(data)


def _call(cmd: Cmd, attr: bytes, what: str) -> int:
    result = int(_syscall(_number, int(cmd), ctypes.c_char_p(attr), len(attr)))
    if result < 0:
        raise BpfError(what, ctypes.get_errno())
    return result


def _call_back(cmd: Cmd, attr: bytes, what: str) -> bytes:
    """The attribute as the kernel left it: some commands answer inside it."""
    buffer = ctypes.create_string_buffer(attr, len(attr))
    if _syscall(_number, int(cmd), buffer, len(attr)) < 0:
        raise BpfError(what, ctypes.get_errno())
    return buffer.raw


class Map:
    """A table in the kernel, by descriptor. Not safe for two threads at once."""

    __slots__ = ("fd", "key_size", "kind", "max_entries", "name", "value_size")

    def __init__(
        self, fd: int, key_size: int, value_size: int, kind: MapType, max_entries: int, name: str
    ) -> None:
        self.fd = fd
        self.key_size = key_size
        # Per-CPU tables speak one 8-byte aligned value per possible CPU.
        percpu = kind is MapType.PERCPU_ARRAY
        self.value_size = -(-value_size // 8) * 8 * possible_cpus() if percpu else value_size
        self.kind = kind
        self.max_entries = max_entries
        self.name = name

    def _element(self, cmd: int, key: bytes, value: bytes | None, flags: int = 0) -> int:
        if len(key) != self.key_size or (value is not None and len(value) != self.value_size):
            raise ValueError(f"{self.name}: key or value has the wrong size")
        attr = _Element(self.fd, 0, key, _address(value), flags)
        if _syscall(_number, cmd, ctypes.byref(attr), _ELEMENT_SIZE) < 0:
            return ctypes.get_errno()
        return 0

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Write one element; in force when this returns."""
        if failed := self._element(2, key, value, flags):
            raise BpfError(f"write to {self.name}", failed)

    def lookup(self, key: bytes) -> bytes | None:
        """The value of one key, or None."""
        out = ctypes.create_string_buffer(self.value_size)
        attr = _Element(self.fd, 0, key, ctypes.addressof(out), 0)
        if len(key) != self.key_size:
            raise ValueError(f"{self.name}: key has the wrong size")
        if _syscall(_number, 1, ctypes.byref(attr), _ELEMENT_SIZE) < 0:
            if (number := ctypes.get_errno()) == errno.ENOENT:
                return None
            raise BpfError(f"read of {self.name}", number)
        return out.raw

    def delete(self, key: bytes) -> bool:
        """Remove one key; False if it was not there."""
        failed = self._element(3, key, None)
        if failed and failed != errno.ENOENT:
            raise BpfError(f"delete from {self.name}", failed)
        return not failed

    def keys(self) -> Iterator[bytes]:
        """Every key. One that is deleted under the walk may make it start over."""
        out = ctypes.create_string_buffer(self.key_size)
        key: bytes | None = None
        while True:
            attr = _Element(self.fd, 0, key, ctypes.addressof(out), 0)
            if _syscall(_number, 4, ctypes.byref(attr), _ELEMENT_SIZE) < 0:
                if (number := ctypes.get_errno()) == errno.ENOENT:
                    return
                raise BpfError(f"walk of {self.name}", number)
            key = out.raw
            yield key

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every element, each seen once unless it is deleted and written again meanwhile."""
        if self.kind in (MapType.HASH, MapType.LRU_HASH, MapType.ARRAY):
            yield from self._batched()
            return
        for key in list(self.keys()):
            if (value := self.lookup(key)) is not None:
                yield key, value

    def _batched(self) -> Iterator[tuple[bytes, bytes]]:
        """BPF_MAP_LOOKUP_BATCH: about a quarter microsecond an element, whole buckets."""
        room = min(_BATCH, max(self.max_entries, 64))
        keys = ctypes.create_string_buffer(room * self.key_size)
        values = ctypes.create_string_buffer(room * self.value_size)
        token = ctypes.create_string_buffer(max(self.key_size, 8))
        first = True
        while True:
            attr = struct.pack(
                "=QQQQIIQQ",
                0 if first else ctypes.addressof(token),
                ctypes.addressof(token),
                ctypes.addressof(keys),
                ctypes.addressof(values),
                room,
                self.fd,
                0,
                0,
            )
            buffer = ctypes.create_string_buffer(attr, len(attr))
            failed = _syscall(_number, int(Cmd.MAP_LOOKUP_BATCH), buffer, len(attr)) < 0
            number = ctypes.get_errno() if failed else 0
            if failed and number != errno.ENOENT:
                raise BpfError(f"scan of {self.name}", number)
            (count,) = struct.unpack_from("=I", buffer.raw, 32)
            key_bytes, value_bytes = keys.raw, values.raw
            for i in range(count):
                yield (
                    key_bytes[i * self.key_size : (i + 1) * self.key_size],
                    value_bytes[i * self.value_size : (i + 1) * self.value_size],
                )
            if failed:  # ENOENT: that was the last bucket
                return
            first = False

    def update_many(self, elements: Sequence[tuple[bytes, bytes]]) -> None:
        """Write many elements in few calls. On failure some of them may be written."""
        for start in range(0, len(elements), _BATCH):
            part = elements[start : start + _BATCH]
            keys = b"".join(key for key, _ in part)
            values = b"".join(value for _, value in part)
            if len(keys) != self.key_size * len(part):
                raise ValueError(f"{self.name}: a key has the wrong size")
            if len(values) != self.value_size * len(part):
                raise ValueError(f"{self.name}: a value has the wrong size")
            attr = struct.pack(
                "=QQQQIIQQ", 0, 0, _address(keys), _address(values), len(part), self.fd, 0, 0
            )
            _call_back(Cmd.MAP_UPDATE_BATCH, attr, f"write to {self.name}")

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True, slots=True)
class Program:
    """A loaded program; `tag` is the kernel's hash of its instructions."""

    fd: int
    name: str
    type: ProgType
    attach_type: AttachType | None  # None: the attach call says it (TC)
    tag: bytes
    verified: int = 0  # instructions the verifier walked

    def close(self) -> None:
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a test run gave: the return value, the packet after it, nanoseconds a run."""

    retval: int
    data: bytes
    duration_ns: int
    ctx: bytes


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


def possible_cpus() -> int:
    """How many values an element of a per-CPU table has."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.replace(",", "-").split("-")[-1]) + 1


def _info(fd: int, size: int) -> bytes:
    out = ctypes.create_string_buffer(size)
    attr = struct.pack("=IIQ", fd, size, ctypes.addressof(out))
    _call_back(Cmd.OBJ_INFO, attr, "read of an object's description")
    return out.raw


def map_of(fd: int) -> Map:
    """A `Map` from a descriptor, its sizes as the kernel says them."""
    kind, _, key, value, entries, _, name = struct.unpack_from("=IIIIII16s", _info(fd, 88))
    return Map(fd, key, value, MapType(kind), entries, name.rstrip(b"\0").decode())


def program_of(fd: int, name: str = "", attach_type: AttachType | None = None) -> Program:
    """A `Program` from a descriptor. `name` because the kernel keeps 15 characters of it."""
    info = _info(fd, 224)
    kind, _, tag = struct.unpack_from("=II8s", info)
    (short,) = struct.unpack_from("=16s", info, 64)
    (verified,) = struct.unpack_from("=I", info, 216)
    name = name or short.rstrip(b"\0").decode()
    return Program(fd, name, ProgType(kind), attach_type, tag, verified)


def obj_get(path: Path) -> int:
    """A descriptor of what is pinned here (map, program or link)."""
    raw = os.fsencode(path) + b"\0"
    return _call(Cmd.OBJ_GET, struct.pack("=QII", _address(raw), 0, 0), f"open {path}")


def pin(fd: int, path: Path) -> None:
    """Keep the object alive under this path of a bpffs. EEXIST if the path is taken."""
    raw = os.fsencode(path) + b"\0"
    _call(Cmd.OBJ_PIN, struct.pack("=QII", _address(raw), fd, 0), f"pin {path}")


def link_create(
    prog_fd: int, target: int, attach_type: int, *, flags: int = 0, relative: int = 0
) -> int:
    """Attach by a link: to a cgroup descriptor, or to an interface index for TCX.

    `flags` and `relative` are TCX's (BPF_F_BEFORE is 8). The hook goes with the
    last descriptor or pin of the link.
    """
    attr = struct.pack("=IIIIIIQ", prog_fd, target, int(attach_type), flags, relative, 0, 0)
    return _call(Cmd.LINK_CREATE, attr, f"attach {AttachType(attach_type).name.lower()}")


def link_update(link_fd: int, prog_fd: int) -> None:
    """Put another program in a link's place, with no packet between the two."""
    _call(Cmd.LINK_UPDATE, struct.pack("=IIII", link_fd, prog_fd, 0, 0), "replace a program")


def link_detach(link_fd: int) -> None:
    """Take the hook away now, whoever else still holds the link."""
    _call(Cmd.LINK_DETACH, struct.pack("=I", link_fd), "detach a link")


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What a link does; `target` is the cgroup's number or the interface's index, 0: gone."""

    program_id: int
    target: int


def link_info(link_fd: int) -> LinkInfo:
    """What the kernel says of a cgroup or TCX link."""
    info = _info(link_fd, 64)
    kind, _, program = struct.unpack_from("=III", info)
    wide = kind == _LINK_CGROUP
    (target,) = struct.unpack_from("=Q" if wide else "=I", info, 16)
    return LinkInfo(program, target)


def prog_by_id(number: int) -> int:
    """A descriptor of a loaded program."""
    return _call(Cmd.PROG_GET_FD_BY_ID, struct.pack("=IIII", number, 0, 0, 0), "open a program")


def prog_id(prog_fd: int) -> int:
    """The kernel's number of a loaded program."""
    return int(struct.unpack_from("=I", _info(prog_fd, 224), 4)[0])


def prog_query(target: int, attach_type: int) -> tuple[int, ...]:
    """The numbers of the programs at a cgroup descriptor or TCX interface, in running order."""
    ids = ctypes.create_string_buffer(4 * _QUERY_ROOM)
    attr = struct.pack(
        "=IIIIQIIQQQQ", target, int(attach_type), 0, 0, ctypes.addressof(ids), _QUERY_ROOM,
        0, 0, 0, 0, 0,
    )
    back = _call_back(Cmd.PROG_QUERY, attr, "list the programs of a hook")
    (count,) = struct.unpack_from("=I", back, 24)
    return struct.unpack_from(f"={count}I", ids.raw)


def prog_attach(prog_fd: int, target: int, attach_type: int, flags: int = 0) -> None:
    """Attach to a cgroup without a link; stays until detached."""
    attr = struct.pack("=IIII", target, prog_fd, int(attach_type), flags)
    _call(Cmd.PROG_ATTACH, attr, f"attach {AttachType(attach_type).name.lower()}")


def prog_detach(prog_fd: int, target: int, attach_type: int) -> None:
    attr = struct.pack("=IIII", target, prog_fd, int(attach_type), 0)
    _call(Cmd.PROG_DETACH, attr, f"detach {AttachType(attach_type).name.lower()}")


def prog_test_run(
    prog_fd: int, data: bytes, *, ctx: bytes = b"", repeat: int = 1, room: int = 256
) -> RunResult:
    """Run a program on this frame, as BPF_PROG_TEST_RUN does: no device, a socket of its own."""
    out = ctypes.create_string_buffer(len(data) + room)
    ctx_out = ctypes.create_string_buffer(len(ctx)) if ctx else None
    attr = struct.pack(
        "=IIIIQQIIIIQQIII4x",
        prog_fd,
        0,
        len(data),
        len(out),
        _address(data),
        ctypes.addressof(out),
        repeat,
        0,
        len(ctx),
        len(ctx),
        _address(ctx) if ctx else 0,
        _address(ctx_out),
        0,
        0,
        0,
    )
    back = _call_back(Cmd.PROG_TEST_RUN, attr, "test run")
    retval, _, size = struct.unpack_from("=III", back, 4)
    (duration,) = struct.unpack_from("=I", back, 36)
    return RunResult(retval, out.raw[:size], duration, ctx_out.raw if ctx_out else b"")


def has_helper(prog_type: ProgType, helper: int, attach_type: AttachType | int = 0) -> bool:
    """Whether programs of this type may call a helper that takes the context alone."""
    # call helper; r0 = 0; exit
    code = struct.pack("=BBhiBBhiBBhi", 0x85, 0, 0, helper, 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
    log = ctypes.create_string_buffer(_LOG_BYTES)
    attr = struct.pack(
        "=IIQQIIQII16sII",
        int(prog_type),
        3,
        _address(code),
        _address(_LICENSE),
        1,
        len(log),
        ctypes.addressof(log),
        0,
        0,
        b"dnsfw_probe",
        0,
        int(attach_type),
    )
    try:
        os.close(_call(Cmd.PROG_LOAD, attr, "probe of a helper"))
    except BpfError as error:
        if error.errno in (errno.EINVAL, errno.EACCES):
            return False
        raise
    return True


_LICENSE = b"GPL\0"
