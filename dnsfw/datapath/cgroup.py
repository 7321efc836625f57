"""The cgroup to guard: found in the version 2 tree, which a hybrid host has too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dnsfw.datapath import mounts
from dnsfw.errors import ConfigError, DatapathError

_PROCS = "cgroup.procs"


def root() -> Path:
    """The top of the cgroup version 2 tree. DatapathError says what to do without one."""
    if (found := mounts.find(mounts.CGROUP2)) is not None:
        return found
    if mounts.find(mounts.CGROUP1) is not None:
        raise DatapathError(
            "this host has only cgroup version 1, which has no hooks for sockets; remedy: boot "
            "with systemd.unified_cgroup_hierarchy=1, or guard devices only with --interface"
        )
    raise DatapathError(
        "cgroup version 2 is not mounted; remedy: mount -t cgroup2 none /sys/fs/cgroup, "
        "or guard devices only with --interface"
    )


def find(wanted: str | Path) -> Path:
    """The directory of a cgroup, given as a directory or as a path below the root.

    ConfigError if there is no such cgroup.
    """
    top = root()
    text = str(wanted)
    device = top.stat().st_dev
    asked = Path(text)
    elsewhere = mounts.seen_elsewhere(asked) if asked.is_absolute() else []
    for path in (asked, top / text.lstrip("/"), *elsewhere):
        with suppress(OSError):
            if path.is_dir() and path.stat().st_dev == device:
                return path
    raise ConfigError(
        f"no cgroup {text} in {mounts.usual(top)}; remedy: name one that `systemd-cgls` shows"
    )


def id_of(cgroup: Path) -> int:
    """The kernel's number of a cgroup: the inode of its directory."""
    return cgroup.stat().st_ino


def here() -> Path:
    """The cgroup that this process is in. DatapathError if it is out of sight."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::/") and not line.startswith("0::/.."):
            return root() / line[4:]
    raise DatapathError("the cgroup of this process is not visible from here")


def move(pid: int, cgroup: Path) -> None:
    """Puts a process into a cgroup; its sockets stay with the one they were made in."""
    try:
        (cgroup / _PROCS).write_text(f"{pid}\n")
    except PermissionError:
        if pid != os.getpid() or id_of(here()) != id_of(cgroup):  # else it is there already
            raise


@contextmanager
def leaf(parent: Path, name: str) -> Iterator[Path]:
    """A cgroup of one's own below `parent` for as long as the block runs.

    A cgroup that hands controllers down takes no processes itself, so even a short-lived
    helper needs a leaf. Who may not make one (a service that does not run as root) stays
    where it is, if that is below `parent` too; else DatapathError.
    """
    path = parent / f"{name}-{os.getpid()}"
    try:
        path.mkdir(exist_ok=True)
    except PermissionError as error:
        own, number = here(), id_of(parent)
        if not any(id_of(place) == number for place in (own, *own.parents)):
            raise DatapathError(
                f"cannot make a cgroup in {mounts.usual(parent)}: {error.strerror}; remedy: run "
                "as root, or run this process below the cgroup that it guards"
            ) from None
        yield own
        return
    try:
        yield path
    finally:
        with suppress(OSError):  # busy while a stray child lives: harmless, and empty soon
            path.rmdir()
