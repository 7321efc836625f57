"""The bpf(2) calls that dnsfw makes, on plain descriptors and without a library.

Every failure is a `BpfError` that keeps the errno. A `Map` is one system call
an operation (about 2 µs), batches where the table type has them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from dnsfw.datapath.syscall import (
    NUMBER,
    AttachType,
    BpfError,
    Cmd,
    MapType,
    ProgType,
    address,
    call,
    call_back,
    info,
    syscall,
)
from dnsfw.values import dataclass

__all__ = [
    "AttachType",
    "BpfError",
    "Map",
    "MapType",
    "ProgType",
    "Program",
    "RunResult",
    "has_helper",
    "load_drop",
    "map_of",
    "obj_get",
    "object_id",
    "pin",
    "possible_cpus",
    "prog_test_run",
    "program_of",
]

_LOG_BYTES = 1 << 16
_INSTRUCTION_BYTES = 8
_TC_SHOT = 2  # TC_ACT_SHOT, TCX_DROP
_BATCH = 4096  # elements a batch call carries
_BATCH_BYTES = 1 << 18  # that a scan asks room for
_LEAST_BATCH = 256  # a bucket is read whole, and holds a handful


class _Element(ctypes.Structure):
    """bpf_attr of the four element commands."""

    _fields_ = (
        ("fd", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("key", ctypes.c_char_p),
        ("value", ctypes.c_char_p),  # bytes to be read, or the address of a buffer to be written
        ("flags", ctypes.c_uint64),
    )


_ELEMENT_SIZE = ctypes.sizeof(_Element)


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
        attr = _Element(self.fd, 0, key, value, flags)
        if syscall(NUMBER, cmd, ctypes.byref(attr), _ELEMENT_SIZE) < 0:
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
        if syscall(NUMBER, 1, ctypes.byref(attr), _ELEMENT_SIZE) < 0:
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
            if syscall(NUMBER, 4, ctypes.byref(attr), _ELEMENT_SIZE) < 0:
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
        fitting = max(_LEAST_BATCH, _BATCH_BYTES // (self.key_size + self.value_size))
        room = min(_BATCH, fitting, max(self.max_entries, 64))
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
            failed = syscall(NUMBER, int(Cmd.MAP_LOOKUP_BATCH), buffer, len(attr)) < 0
            number = ctypes.get_errno() if failed else 0
            if failed and number != errno.ENOENT:
                raise BpfError(f"scan of {self.name}", number)
            (count,) = struct.unpack_from("=I", buffer.raw, 32)
            key_bytes = ctypes.string_at(keys, count * self.key_size)
            value_bytes = ctypes.string_at(values, count * self.value_size)
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
            keys = b"".join([key for key, _ in part])
            values = b"".join([value for _, value in part])
            if len(keys) != self.key_size * len(part):
                raise ValueError(f"{self.name}: a key has the wrong size")
            if len(values) != self.value_size * len(part):
                raise ValueError(f"{self.name}: a value has the wrong size")
            attr = struct.pack(
                "=QQQQIIQQ", 0, 0, address(keys), address(values), len(part), self.fd, 0, 0
            )
            call_back(Cmd.MAP_UPDATE_BATCH, attr, f"write to {self.name}")

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Remove many keys in few calls (of a hash: Linux 5.6). One that is not there is none."""
        done = 0
        while done < len(keys):
            part = keys[done : done + _BATCH]
            data = b"".join(part)
            if len(data) != self.key_size * len(part):
                raise ValueError(f"{self.name}: a key has the wrong size")
            attr = struct.pack("=QQQQIIQQ", 0, 0, address(data), 0, len(part), self.fd, 0, 0)
            buffer = ctypes.create_string_buffer(attr, len(attr))
            if syscall(NUMBER, int(Cmd.MAP_DELETE_BATCH), buffer, len(attr)) == 0:
                done += len(part)
                continue
            if (number := ctypes.get_errno()) != errno.ENOENT:
                raise BpfError(f"delete from {self.name}", number)
            (count,) = struct.unpack_from("=I", buffer.raw, 32)
            done += count + 1  # it stopped at a key that is not there

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


def possible_cpus() -> int:
    """How many values an element of a per-CPU table has."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.replace(",", "-").split("-")[-1]) + 1


def map_of(fd: int) -> Map:
    """A `Map` from a descriptor, its sizes as the kernel says them."""
    kind, _, key, value, entries, _, name = struct.unpack_from("=IIIIII16s", info(fd, 88))
    return Map(fd, key, value, MapType(kind), entries, name.rstrip(b"\0").decode())


def program_of(fd: int, name: str = "", attach_type: AttachType | None = None) -> Program:
    """A `Program` from a descriptor. `name` because the kernel keeps 15 characters of it."""
    raw = info(fd, 224)
    kind, _, tag = struct.unpack_from("=II8s", raw)
    (short,) = struct.unpack_from("=16s", raw, 64)
    (verified,) = struct.unpack_from("=I", raw, 216)
    name = name or short.rstrip(b"\0").decode()
    return Program(fd, name, ProgType(kind), attach_type, tag, verified)


def object_id(fd: int) -> int:
    """The kernel's number of a map or a program."""
    return int(struct.unpack_from("=I", info(fd, 88), 4)[0])


def obj_get(path: Path) -> int:
    """A descriptor of what is pinned here (map, program or link)."""
    raw = os.fsencode(path) + b"\0"
    return call(Cmd.OBJ_GET, struct.pack("=QII", address(raw), 0, 0), f"open {path}")


def pin(fd: int, path: Path) -> None:
    """Keep the object alive under this path of a bpffs. EEXIST if the path is taken."""
    raw = os.fsencode(path) + b"\0"
    call(Cmd.OBJ_PIN, struct.pack("=QII", address(raw), fd, 0), f"pin {path}")


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
        address(data),
        ctypes.addressof(out),
        repeat,
        0,
        len(ctx),
        len(ctx),
        address(ctx) if ctx else 0,
        address(ctx_out),
        0,
        0,
        0,
    )
    back = call_back(Cmd.PROG_TEST_RUN, attr, "test run")
    retval, _, size = struct.unpack_from("=III", back, 4)
    (duration,) = struct.unpack_from("=I", back, 36)
    return RunResult(retval, out.raw[:size], duration, ctx_out.raw if ctx_out else b"")


def load_drop() -> int:
    """A descriptor of a program for TC or TCX that drops every packet."""
    code = struct.pack("=BBhiBBhi", 0xB7, 0, 0, _TC_SHOT, 0x95, 0, 0, 0)  # r0 = 2; exit
    return _load(ProgType.SCHED_CLS, code, 0, b"dnsfw_drop", "load of a stand-in")


def has_helper(prog_type: ProgType, helper: int, attach_type: AttachType | int = 0) -> bool:
    """Whether programs of this type may call a helper that takes the context alone."""
    # call helper; r0 = 0; exit
    code = struct.pack("=BBhiBBhiBBhi", 0x85, 0, 0, helper, 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
    try:
        os.close(_load(prog_type, code, int(attach_type), b"dnsfw_probe", "probe of a helper"))
    except BpfError as error:
        if error.errno in (errno.EINVAL, errno.EACCES):
            return False
        raise
    return True


def _load(prog_type: ProgType, code: bytes, attach_type: int, name: bytes, what: str) -> int:
    log = ctypes.create_string_buffer(_LOG_BYTES)
    attr = struct.pack(
        "=IIQQIIQII16sII",
        int(prog_type),
        len(code) // _INSTRUCTION_BYTES,
        address(code),
        address(_LICENSE),
        1,
        len(log),
        ctypes.addressof(log),
        0,
        0,
        name,
        0,
        attach_type,
    )
    return call(Cmd.PROG_LOAD, attr, what)


_LICENSE = b"GPL\0"
