"""Where the kernel's file systems are: found in mountinfo, never by a fixed path.

`ip netns exec` mounts a fresh sysfs over /sys, so a mount may be listed and yet be
hidden: a candidate counts only if the directory there is really on that device.
A hidden one is reached through the root of process 1.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dnsfw.errors import DatapathError

BPFFS = "bpf"
CGROUP2 = "cgroup2"
CGROUP1 = "cgroup"
_BPFFS_USUAL = Path("/sys/fs/bpf")
_CLONE_NEWNS = 0x00020000


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo."""

    device: tuple[int, int]
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


def find(kind: str, proc: Path = Path("/proc")) -> Path | None:
    """A directory where a file system of this kind can really be reached, or None."""
    for process, prefix in (("self", Path("/")), ("1", proc / "1" / "root")):
        try:
            mounts = tuple(parse((proc / process / "mountinfo").read_text()))
        except OSError:
            continue
        # A mount of the whole file system first: a bind of a part shows only that part.
        for mount in sorted(mounts, key=lambda m: m.root != "/"):
            if mount.kind != kind or mount.read_only:
                continue
            path = prefix / mount.point.relative_to("/")
            if _is_on(path, mount.device):
                return path
    return None


def bpffs() -> Path:
    """The BPF file system, mounted if it was not; DatapathError where that cannot be."""
    if (found := find(BPFFS)) is not None:
        return found
    _mount_bpffs()
    if (found := find(BPFFS)) is None:
        remedy = f"mount -t bpf bpf {_BPFFS_USUAL}"
        raise DatapathError(f"the BPF file system is missing; remedy: {remedy}")
    return found


def _is_on(path: Path, device: tuple[int, int]) -> bool:
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


def _mount_bpffs() -> None:
    """Mounts it in the mount namespace of process 1: pins must outlive ours.

    A child does it, because a thread of a threaded process may not change its namespace.
    """
    child = os.fork()
    if child == 0:  # only plain system calls from here on
        status = 1
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            fd = os.open("/proc/1/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            libc.setns(fd, _CLONE_NEWNS)
            status = libc.mount(b"bpf", os.fsencode(_BPFFS_USUAL), b"bpf", 0, b"mode=0700")
        finally:
            os._exit(0 if status == 0 else 1)
    os.waitpid(child, 0)
