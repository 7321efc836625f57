"""No way out of its cgroup for a process and what it starts, root or not.

Without this root inside leaves by writing its number into another cgroup's `cgroup.procs`.
Three things together close that:

- a cgroup namespace of its own, and a mount namespace in which the cgroup2 file system shows
  this namespace only: there is no name for a cgroup outside;
- Landlock (Linux 5.13): who is inside of it can neither mount, nor look into processes that
  are outside of it (`/proc/1/root`, ptrace), so nothing brings the other tree back;
- the system call filter (see seccomp.py) without what takes a descriptor instead of a name:
  clone3, which takes a cgroup's; open_by_handle_at, which makes one of any cgroup's number;
  setns, for the kernel hands out those of other mount namespaces. Only setns(fd,
  CLONE_NEWNET) is left, by that very flag.

What stays open is asking somebody outside: systemd, a container engine, any service that
starts programs for a caller over a unix socket. Packets cannot show that.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from dnsfw.datapath import landlock, mounts
from dnsfw.errors import DatapathError

__all__ = ["close_in"]

_CLONE_NEWNS, _CLONE_NEWCGROUP = 0x00020000, 0x02000000
_MS_REC, _MS_SLAVE, _MNT_DETACH = 1 << 14, 1 << 19, 2
_libc = ctypes.CDLL(None, use_errno=True)


def close_in() -> None:
    """This process and all it starts stay in the cgroup they are in. For a single-threaded one.

    DatapathError says what the host lacks.
    """
    _namespaces()
    _show_only_ours()
    _landlock()


def _namespaces() -> None:
    if _libc.unshare(_CLONE_NEWCGROUP | _CLONE_NEWNS) != 0:
        raise _lacks("namespaces for cgroups and mounts", "CAP_SYS_ADMIN; remedy: run as root")
    if _libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None) != 0:
        raise _lacks("mounts of its own", "CAP_SYS_ADMIN")


def _show_only_ours() -> None:
    """Every cgroup2 mount gives way; the usual place shows the new namespace."""
    text = Path("/proc/self/mountinfo").read_text()
    points = [mount.point for mount in mounts.parse(text) if mount.kind == mounts.CGROUP2]
    for point in reversed(points):  # one may hide another
        if _libc.umount2(os.fsencode(point), _MNT_DETACH) != 0:
            raise _lacks(f"{point} cannot be hidden", "CAP_SYS_ADMIN")
    for point in points[:1]:
        # A program that reads its limits there finds them; where it cannot be, it finds none.
        with suppress(OSError):
            _libc.mount(b"cgroup2", os.fsencode(point), b"cgroup2", 0, None)


def _landlock() -> None:
    """Everything below / is allowed; what Landlock itself closes is what we are after."""
    if not landlock.version():
        raise DatapathError(
            "Landlock is missing, so root could leave its cgroup: it needs Linux 5.13 with "
            "`landlock` in lsm=; remedy: --user somebody who is not root, and leave the guard out"
        )
    try:
        landlock.restrict(landlock.EVERYTHING, [Path("/")])
    except DatapathError as error:
        raise DatapathError(f"cannot keep the command in its cgroup: {error}") from None


def _lacks(what: str, needs: str) -> DatapathError:
    why = os.strerror(ctypes.get_errno())
    return DatapathError(f"cannot keep the command in its cgroup: {what}: {why} ({needs})")
