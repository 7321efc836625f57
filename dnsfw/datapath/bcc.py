"""Compiles the kernel part on this host with BCC: for hosts where the shipped object fails.

The distribution's python3-bpfcc, not PyPI's `bcc`, which is another project. It needs the
kernel's headers, of any version near: the programs use only the stable interface.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dnsfw.datapath import bcc_source, bpf, mounts
from dnsfw.datapath.backend import Backend, Loaded, check
from dnsfw.datapath.libbpf import netns_cookie_in_skb_hooks
from dnsfw.errors import DatapathError

# Debian's and Fedora's system Python; a virtual environment does not look there.
_SYSTEM_PACKAGES = (
    Path("/usr/lib/python3/dist-packages"),
    Path(f"/usr/lib/python3.{sys.version_info.minor}/site-packages"),
    Path(f"/usr/lib64/python3.{sys.version_info.minor}/site-packages"),
)
_INSTALL = "apt-get install python3-bpfcc linux-headers-$(dpkg --print-architecture)"
_SOURCES = "BCC_KERNEL_SOURCE"
_MACHINES = {"x86_64": "x86", "aarch64": "arm64", "ppc64le": "powerpc", "s390x": "s390"}
_KHEADERS = Path("/sys/kernel/kheaders.tar.xz")  # CONFIG_IKHEADERS; BCC unpacks it itself
_FLAGS = (
    "-DDNSFW_BCC",
    # BCC's declarations of helpers are older than the helpers' real ones.
    "-Wno-incompatible-pointer-types-discards-qualifiers",
    "-Wno-constant-conversion",
)
_SAID_LINES = 40  # the tail of what compiler or verifier wrote that an error shows


class BccBackend:
    """Needs BCC, a compiler's worth of memory (120 MB) and half a second."""

    name = "bcc"
    without = frozenset[str]()

    def __init__(self, source: Path | None = None) -> None:
        """`source` is the directory of the C files, by default the one that comes with us."""
        self._source = source

    def key(self) -> str:
        """What a compiler here makes of the source is not known before."""
        return ""

    def load(self, reuse: Mapping[str, int]) -> Loaded:
        """See `Backend.load`; also DatapathError when BCC or the headers are missing."""
        bcc = import_bcc()
        source = bcc_source.read(self._source or bcc_source.directory())
        cookie = netns_cookie_in_skb_hooks()
        with kernel_headers(), _pinned(reuse) as pins, _captured() as said:
            try:
                module = bcc.BPF(
                    text=bcc_source.translate(source, pins).encode(),
                    cflags=[*_FLAGS, f"-DHAS_NETNS_COOKIE={int(cookie)}"],
                )
                try:
                    return check(_loaded(bcc, module, source, cookie))
                finally:
                    module.cleanup()
            except DatapathError:
                raise
            except Exception as error:  # BCC raises nothing narrower
                raise DatapathError(f"BCC: {error}\n{said()}") from error


def import_bcc() -> Any:
    """The `bcc` module of the system's Python. DatapathError says how to install it."""
    for path in _SYSTEM_PACKAGES:
        if not (path / "bcc" / "__init__.py").is_file():
            continue
        sys.path.append(str(path))
        try:
            import bcc
        except (ImportError, OSError) as error:
            raise DatapathError(f"BCC does not start: {error}; remedy: {_INSTALL}") from error
        finally:
            sys.path.remove(str(path))
        return bcc
    raise DatapathError(f"BCC is not installed; remedy: {_INSTALL} (Fedora: dnf install bcc)")


@contextmanager
def kernel_headers(
    modules: Path = Path("/lib/modules"), usr_src: Path = Path("/usr/src")
) -> Iterator[None]:
    """Tells BCC where headers are for the block. DatapathError if there are none.

    Headers of another kernel version do: what the programs use is stable.
    """
    here = modules / os.uname().release
    if _SOURCES in os.environ or (here / "build").exists() or _KHEADERS.exists():
        yield
        return
    split = sorted(usr_src.glob("linux-headers-*/include/generated"))
    whole = sorted(usr_src.glob("kernels/*/include/generated"))
    if not split and not whole:
        raise DatapathError(
            f"BCC needs kernel headers: none at {here / 'build'} or in {usr_src}; "
            f"remedy: {_INSTALL}"
        )
    with tempfile.TemporaryDirectory(prefix="dnsfw-headers-") as merged:
        found = whole[-1].parents[1] if whole else _merge(split[-1].parents[1], Path(merged))
        os.environ[_SOURCES] = str(found)
        try:
            yield
        finally:
            del os.environ[_SOURCES]


def _merge(built: Path, into: Path) -> Path:
    """Debian splits the headers in two directories; BCC wants one. Links, no copies."""
    machine = _MACHINES.get(os.uname().machine, os.uname().machine)
    common = _common_of(built)
    for part in ("include", f"arch/{machine}/include"):
        (into / part).mkdir(parents=True)
        for tree in (built, common):
            for item in (tree / part).glob("*"):
                if not (into / part / item.name).exists():
                    (into / part / item.name).symlink_to(item)
    return into


def _common_of(built: Path) -> Path:
    """linux-headers-6.1.0-9-amd64 goes with linux-headers-6.1.0-9-common."""
    stem, _, _ = built.name.rpartition("-")
    common = built.with_name(f"{stem}-common")
    return common if common.is_dir() else built


@contextmanager
def _pinned(reuse: Mapping[str, int]) -> Iterator[dict[str, Path]]:
    """BCC takes tables over by path only: each under one for the block."""
    if not reuse:
        yield {}
        return
    place = Path(tempfile.mkdtemp(prefix="dnsfw-bcc-", dir=mounts.bpffs()))
    paths = {name: place / name for name in reuse}
    try:
        for name, fd in reuse.items():
            bpf.pin(fd, paths[name])
        yield paths
    finally:
        for path in paths.values():
            with suppress(FileNotFoundError):
                path.unlink()
        place.rmdir()


@contextmanager
def _captured() -> Iterator[Callable[[], str]]:
    """Keeps what clang and the verifier write to stderr; gives a way to read the end of it."""
    with tempfile.TemporaryFile("w+", errors="replace") as log:

        def said() -> str:
            log.seek(0)
            return "".join(log.readlines()[-_SAID_LINES:])

        saved = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _loaded(bcc: Any, module: Any, source: str, cookie: bool) -> Loaded:
    programs = {}
    for name, (kind, attach) in bcc_source.programs(source).items():
        expected = -1 if attach is None else int(attach)
        function = module.load_func(name.encode(), int(kind), attach_type=expected)
        programs[name] = bpf.program_of(os.dup(function.fd), name, attach)
    maps = {}
    for name in bcc_source.tables(source):
        fd = bcc.lib.bpf_table_fd(module.module, name.encode())
        if fd < 0:
            raise DatapathError(f"BCC made no table {name}")
        maps[name] = bpf.map_of(os.dup(fd))
    return Loaded(maps, programs, cookie)


_: Backend = BccBackend()
