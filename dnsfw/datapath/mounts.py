"""Where the kernel's file systems are: found in mountinfo, never by a fixed path.

`ip netns exec` mounts a fresh sysfs over /sys, so a mount may be listed and yet be
hidden: a candidate counts only if the directory there is really on that device.
A hidden one is reached through the root of a process that still sees it: process 1,
process 2 (the kernel's own, where a sandbox closes process 1 to us) or an ancestor.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from dnsfw.errors import DatapathError
from dnsfw.values import dataclass

BPFFS = "bpf"
CGROUP2 = "cgroup2"
CGROUP1 = "cgroup"
_BPFFS_USUAL = Path("/sys/fs/bpf")
_CLONE_NEWNS = 0x00020000
_LASTING = ("1", "2")
_ROUNDABOUT = re.compile(r"^/proc/\d+/(root|fd/\d+)(?=/)")
_GENERATIONS = 32  # of ancestors; deeper is no shell of an operator
_Device = tuple[int, int]
_reached: dict[tuple[Path, str, Path | None], tuple[Path, _Device]] = {}


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo."""

    device: _Device
    root: str  # the directory of the file system that is mounted here
    point: Path
    kind: str
    read_only: bool


def parse(mountinfo: str) -> Iterator[Mount]:
    """Every mount of a mountinfo text, see proc_pid_mountinfo(5)."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 6 or not after:
            continue
        major, _, minor = fields[2].partition(":")
        yield Mount(
            device=(int(major), int(minor)),
            root=_unescape(fields[3]),
            point=Path(_unescape(fields[4])),
            kind=after.split(" ", 1)[0],
            read_only="ro" in fields[5].split(","),
        )


def find(kind: str, proc: Path = Path("/proc"), at: Path | None = None) -> Path | None:
    """A directory where a file system of this kind can really be reached, or None.

    With `at` only a mount at this very place counts. What was reached through another process
    once stays found: later we may lack the right to look there, or that process is gone.
    """
    wanted = (proc, kind, at)
    for process in _relatives(proc):
        try:
            mounts = tuple(parse((proc / process / "mountinfo").read_text()))
        except OSError:
            continue
        # A mount of the whole file system first: a bind of a part shows only that part.
        for mount in sorted(mounts, key=lambda m: m.root != "/"):
            if mount.kind != kind or mount.read_only or at not in (None, mount.point):
                continue
            inside = mount.point.relative_to("/")
            if process == "self":
                if _is_on(mount.point, mount.device):
                    return mount.point
            elif _is_on(proc / process / "root" / inside, mount.device):
                path = _keep_root(proc / process / "root") / inside
                _reached[wanted] = path, mount.device
                return path
    known = _reached.get(wanted)
    return known[0] if known and _is_on(*known) else None


def seen_elsewhere(path: Path) -> list[Path]:
    """The same path as our ancestors see it, for one that `ip netns exec` hid from us."""
    proc = Path("/proc")
    inside = path.relative_to("/")
    roots = (proc / process / "root" for process in _relatives(proc) if process != "self")
    return [_keep_root(root) / inside for root in roots if _can_stat(root / inside)]


def where(kind: str) -> Path | None:
    """Where to look for a file system of this kind now, or None.

    Elsewhere than usual only where it is not there: others mount a bpffs of their own for
    a while.
    """
    return (find(kind, at=_BPFFS_USUAL) if kind == BPFFS else None) or find(kind)


def bpffs() -> Path:
    """The BPF file system, mounted if it was not; DatapathError where that cannot be."""
    if (found := find(BPFFS, at=_BPFFS_USUAL)) is not None:
        return found
    _mount_bpffs()
    if (found := where(BPFFS)) is None:
        remedy = f"mount -t bpf bpf {_BPFFS_USUAL}"
        raise DatapathError(f"the BPF file system is missing; remedy: {remedy}")
    return found


def _is_on(path: Path, device: _Device) -> bool:
    try:
        dev = path.stat().st_dev
    except OSError:
        return False
    return (os.major(dev), os.minor(dev)) == device


def _unescape(text: str) -> str:
    r"""Space, tab, newline and backslash are written \040 \011 \012 \134."""
    for code in ("040", "011", "012", "134"):
        text = text.replace("\\" + code, chr(int(code, 8)))
    return text


def _relatives(proc: Path) -> Iterator[str]:
    """Ourselves, those that live as long as the host, our ancestors from the nearest on."""
    yield from ("self", *_LASTING)
    process = "self"
    for _ in range(_GENERATIONS):
        try:
            stat = (proc / process / "stat").read_text()
        except OSError:
            break
        process = stat.rpartition(")")[2].split()[1]  # proc_pid_stat(5), field 4
        if process in {"0", "1"}:
            break
        yield process


def usual(path: Path) -> Path:
    """The path as people know it: without the descriptor that leads into another's root."""
    return Path(_ROUNDABOUT.sub("", str(path)))


@cache
def _keep_root(root: Path) -> Path:
    """A name for another process's root that holds after that process is gone."""
    try:
        fd = os.open(root, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return root
    return Path(f"/proc/{os.getpid()}/fd/{fd}")


def _can_stat(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


def _mount_bpffs() -> None:
    """Mounts it where it outlives us: the mount namespace of the host's lasting processes,
    else of the farthest ancestor.

    A child does it, because a thread of a threaded process may not change its namespace.
    """
    *_, farthest = _relatives(Path("/proc"))
    child = os.fork()
    if child == 0:  # only plain system calls from here on
        status = 1
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            for process in (*_LASTING, farthest):
                try:
                    fd = os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
                except OSError:
                    continue
                if libc.setns(fd, _CLONE_NEWNS) == 0:
                    break
            status = libc.mount(b"bpf", os.fsencode(_BPFFS_USUAL), b"bpf", 0, b"mode=0700")
        finally:
            os._exit(0 if status == 0 else 1)
    os.waitpid(child, 0)
