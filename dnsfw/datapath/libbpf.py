"""Loads the object that the wheel carries, through libbpf.so.1 by ctypes.

libbpf's own handles live only inside `load`: what comes out is duplicated
descriptors, so nothing here must outlive the call.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from dnsfw.datapath import bpf
from dnsfw.datapath.backend import Backend, Loaded, check
from dnsfw.datapath.bpf import AttachType, Map, Program, ProgType
from dnsfw.errors import DatapathError

__all__ = ["OBJECT", "LibbpfBackend", "load_apart", "netns_cookie_in_skb_hooks"]

OBJECT = Path(__file__).with_name("dnsfw.bpf.o")
_SONAME = "libbpf.so.1"
_GET_NETNS_COOKIE = 122  # helper id; in skb hooks since Linux 6.15
_LOG_LINES = 40  # the tail of libbpf's words that an error shows

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


def netns_cookie_in_skb_hooks() -> bool:
    """Whether TC and cgroup_skb programs may ask for the socket's network namespace."""
    return all(
        bpf.has_helper(kind, _GET_NETNS_COOKIE)
        for kind in (ProgType.SCHED_CLS, ProgType.CGROUP_SKB)
    )


class LibbpfBackend:
    """The default backend: no compiler, no headers, no BCC on the host."""

    name = "libbpf"

    def __init__(
        self,
        path: Path = OBJECT,
        without: Collection[str] = (),
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        """`without` names programs that will not be attached: they need not be verified.
        `sizes` are elements of tables that hold more, or fewer, than abi.h says.
        """
        self._path = path
        self.without = frozenset(without)
        self._sizes = dict(sizes or {})

    def key(self) -> str:
        """See `Backend.key`: the object, what is chosen in it, and the kernel."""
        try:
            found = blake2b(self._path.read_bytes(), digest_size=16)
        except OSError:
            return ""  # `load` says it
        cookie = netns_cookie_in_skb_hooks()
        found.update(repr((sorted(self.without), cookie, *os.uname()[2:])).encode())
        return found.hexdigest()

    def load(self, reuse: Mapping[str, int]) -> Loaded:
        """See `Backend.load`."""
        if not self._path.exists():
            raise DatapathError(f"{self._path} is missing: run `make -C kernel`")
        lib = _library()
        cookie = netns_cookie_in_skb_hooks()
        with _messages(lib) as messages, _opened(lib, self._path) as obj:
            _set_options(lib, obj, {"dnsfw_has_netns_cookie": int(cookie)})
            for name in self._sizes.keys() - reuse.keys():
                _resize(lib, obj, name, self._sizes[name])
            _leave_out(lib, obj, self.without)
            _load(lib, obj, reuse, messages)
            maps = dict(_maps(lib, obj))
            programs = dict(_programs(lib, obj, self.without))
        return check(Loaded(maps, programs, cookie), self.without)


def load_apart(path: Path, reuse: Mapping[str, int]) -> Loaded:
    """An object that is no part of the wall, all of it. DatapathError as `Backend.load`."""
    if not path.exists():
        raise DatapathError(f"{path} is missing: run `make -C kernel`")
    lib = _library()
    with _messages(lib) as messages, _opened(lib, path) as obj:
        _load(lib, obj, reuse, messages)
        return Loaded(dict(_maps(lib, obj)), dict(_programs(lib, obj, frozenset())), False)


def _load(lib: ctypes.CDLL, obj: int, reuse: Mapping[str, int], messages: list[str]) -> None:
    for name, fd in reuse.items():
        found = lib.bpf_object__find_map_by_name(obj, name.encode())
        if not found or lib.bpf_map__reuse_fd(found, fd) < 0:
            raise DatapathError(f"the pinned {name} does not fit this version")
    if (failed := lib.bpf_object__load(obj)) < 0:
        tail = "\n".join("".join(messages).splitlines()[-_LOG_LINES:])
        raise bpf.BpfError("load of the kernel programs", -failed, tail)


def _library() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL(_SONAME, use_errno=True)
    except OSError as error:
        raise DatapathError(
            f"{_SONAME} is not installed (Debian: apt-get install libbpf1)"
        ) from error
    pointers = (
        "bpf_object__open_file",
        "bpf_object__find_map_by_name",
        "bpf_object__next_map",
        "bpf_object__next_program",
        "bpf_map__initial_value",
        "libbpf_set_print",
    )
    for name in pointers:
        getattr(lib, name).restype = ctypes.c_void_p
    for name in ("bpf_map__name", "bpf_program__name"):
        getattr(lib, name).restype = ctypes.c_char_p
    two = (ctypes.c_void_p, ctypes.c_void_p)
    lib.bpf_object__open_file.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
    lib.bpf_object__find_map_by_name.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    lib.bpf_object__next_map.argtypes = lib.bpf_object__next_program.argtypes = two
    lib.bpf_map__initial_value.argtypes = two
    lib.bpf_program__set_autoload.argtypes = (ctypes.c_void_p, ctypes.c_bool)
    lib.bpf_map__reuse_fd.argtypes = (ctypes.c_void_p, ctypes.c_int)
    for name in (
        "bpf_object__load",
        "bpf_object__close",
        "bpf_map__name",
        "bpf_map__fd",
        "bpf_program__name",
        "bpf_program__fd",
        "bpf_program__type",
        "bpf_program__expected_attach_type",
        "libbpf_set_print",
    ):
        getattr(lib, name).argtypes = (ctypes.c_void_p,)
    lib.bpf_object__close.restype = None
    return lib


def _resize(lib: ctypes.CDLL, obj: int, name: str, elements: int) -> None:
    found = lib.bpf_object__find_map_by_name(obj, name.encode())
    if not found or lib.bpf_map__set_max_entries(ctypes.c_void_p(found), elements) < 0:
        raise DatapathError(f"{name} cannot hold {elements} elements")


@contextmanager
def _messages(lib: ctypes.CDLL) -> Iterator[list[str]]:
    """Collect what libbpf would print. Its va_list is formatted by libc."""
    libc = ctypes.CDLL(None)
    kept: list[str] = []

    def keep(level: int, form: bytes, args: int) -> int:
        if level > 1:  # LIBBPF_DEBUG
            return 0
        text = ctypes.create_string_buffer(1 << 16)
        libc.vsnprintf(text, len(text), ctypes.c_char_p(form), ctypes.c_void_p(args))
        kept.append(text.value.decode(errors="replace"))
        return 0

    callback = _PRINT(keep)
    before = lib.libbpf_set_print(ctypes.cast(callback, ctypes.c_void_p))
    try:
        yield kept
    finally:
        lib.libbpf_set_print(before)


@contextmanager
def _opened(lib: ctypes.CDLL, path: Path) -> Iterator[int]:
    obj = lib.bpf_object__open_file(str(path).encode(), None)
    if not obj:
        raise bpf.BpfError(f"open {path}", ctypes.get_errno())
    try:
        yield obj
    finally:
        lib.bpf_object__close(obj)


def _set_options(lib: ctypes.CDLL, obj: int, options: Mapping[str, int]) -> None:
    """Write the OPTION() words of .rodata, which lie there in the order of the source."""
    found = None
    while found := lib.bpf_object__next_map(obj, found):
        if lib.bpf_map__name(found).endswith(b".rodata"):
            size = ctypes.c_size_t()
            words = lib.bpf_map__initial_value(found, ctypes.byref(size))
            if not words or size.value < 4 * len(options):
                break
            for i, value in enumerate(options.values()):
                ctypes.c_uint32.from_address(words + 4 * i).value = value
            return
    raise DatapathError("the kernel object has no options; rebuild it")


def _maps(lib: ctypes.CDLL, obj: int) -> Iterator[tuple[str, Map]]:
    found = None
    while found := lib.bpf_object__next_map(obj, found):
        name = lib.bpf_map__name(found).decode()
        if name.startswith("dnsfw_") and "." not in name:
            yield name, bpf.map_of(_keep(lib.bpf_map__fd(found)))


def _leave_out(lib: ctypes.CDLL, obj: int, names: frozenset[str]) -> None:
    found = None
    while found := lib.bpf_object__next_program(obj, found):
        if lib.bpf_program__name(found).decode() in names:
            lib.bpf_program__set_autoload(found, False)


def _programs(
    lib: ctypes.CDLL, obj: int, without: frozenset[str]
) -> Iterator[tuple[str, Program]]:
    found = None
    while found := lib.bpf_object__next_program(obj, found):
        name = lib.bpf_program__name(found).decode()
        if name in without:
            continue
        kind = ProgType(lib.bpf_program__type(found))
        expected = lib.bpf_program__expected_attach_type(found)
        # The attach call of these two says where.
        elsewhere = kind in (ProgType.SCHED_CLS, ProgType.SOCKET_FILTER, ProgType.SYSCALL)
        attach = None if elsewhere else AttachType(expected)
        yield name, bpf.program_of(_keep(lib.bpf_program__fd(found)), name, attach)


def _keep(fd: int) -> int:
    """A duplicate that outlives libbpf's object."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


_: Backend = LibbpfBackend()
