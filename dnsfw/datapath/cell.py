"""A filter on system calls for a process of our own: what is listed passes, nothing else does.

What such a process needs it has before the filter: descriptors, modules, a program to run. So
whoever takes it over by what it reads can neither open, start, signal nor look into anything,
though its user is the daemon's (another user's would be out of the daemon's reach, which has
given up CAP_KILL). Refused calls fail with ENOSYS, which libc takes for an old kernel.

Numbers are of this machine's own table alone; a process that runs another one's (i386, x32)
is ended.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import field
from struct import Struct

from dnsfw.errors import DatapathError
from dnsfw.values import dataclass

__all__ = ["COMPILER", "WORKER", "Cell", "program"]

_LD_ABS, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.ENOSYS, 0x80000000
_NR, _ARCH, _ARGUMENTS = 0, 4, 16  # struct seccomp_data; low halves (little-endian)
_INSTRUCTION = Struct("=HBBI")
_X32_BIT = 0x40000000
_PROT_EXEC = 4
_STDERR = 2
_TCGETS, _FIONCLEX, _FIOCLEX = 0x5401, 0x5450, 0x5451
_F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC = 1, 2, 3, 1030
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column below, AUDIT_ARCH_*

_Code = list[tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class Cell:
    """What one kind of process may call."""

    calls: tuple[str, ...]
    # Calls of which one argument, by its number, must be one of these.
    only: Mapping[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    code: bool = False  # may it get new code into its memory


def program(machine: str, cell: Cell) -> bytes:
    """The filter for this machine (`seccomp.install`). DatapathError: not known."""
    if machine not in _MACHINES:
        raise DatapathError(
            f"no list of system calls for {machine}, only for {' and '.join(_MACHINES)}"
        )
    column, arch = _MACHINES[machine]
    code: _Code = [
        (_LD_ABS, 0, 0, _ARCH), (_JEQ, 1, 0, arch), (_RET, 0, 0, _KILL), (_LD_ABS, 0, 0, _NR),
    ]  # fmt: skip
    if machine == "x86_64":
        code += [(_JGE, 0, 1, _X32_BIT), (_RET, 0, 0, _KILL)]
    plain = []
    for name in cell.calls:
        if (number := _TABLE[name][column]) is None:
            continue
        if block := _judged(cell, name):
            code += [(_JEQ, 0, len(block), number), *block]
        else:
            plain.append(number)
    # A jump is at most 255 long: there are some sixty.
    code += [(_JEQ, len(plain) - place, 0, number) for place, number in enumerate(plain)]
    code += [(_RET, 0, 0, _REFUSE), (_RET, 0, 0, _ALLOW)]
    return b"".join(_INSTRUCTION.pack(*step) for step in code)


def _judged(cell: Cell, name: str) -> _Code:
    """What is looked at beside the number; ends in a return on every way."""
    if name in ("mmap", "mprotect") and not cell.code:
        return [
            (_LD_ABS, 0, 0, _ARGUMENTS + 2 * 8), (_JSET, 0, 1, _PROT_EXEC), (_RET, 0, 0, _REFUSE),
            (_RET, 0, 0, _ALLOW),
        ]  # fmt: skip
    if name not in cell.only:
        return []
    argument, values = cell.only[name]
    tests = [(_JEQ, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [
        (_LD_ABS, 0, 0, _ARGUMENTS + 8 * argument), *tests, (_RET, 0, 0, _REFUSE),
        (_RET, 0, 0, _ALLOW),
    ]  # fmt: skip


# x86_64, aarch64 (asm-generic/unistd.h); None: it has another call for that.
_TABLE: dict[str, tuple[int | None, int | None]] = {
    "access": (21, None),
    "brk": (12, 214),
    "clock_gettime": (228, 113),
    "close": (3, 57),
    "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22),
    "epoll_wait": (232, None),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fcntl": (72, 25),
    "fdatasync": (75, 83),
    "fstat": (5, 80),
    "fsync": (74, 82),
    "ftruncate": (77, 46),
    "futex": (202, 98),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getpid": (39, 172),
    "getpriority": (140, 141),
    "getrandom": (318, 278),
    "getsockopt": (55, 209),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "ioctl": (16, 29),
    "lseek": (8, 62),
    "lstat": (6, None),
    "madvise": (28, 233),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "newfstatat": (262, 79),
    "open": (2, None),
    "openat": (257, 56),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "recvfrom": (45, 207),
    "recvmmsg": (299, 243),
    "recvmsg": (47, 212),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "sendmmsg": (307, 269),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "setpriority": (141, 140),
    "sigaltstack": (131, 132),
    "stat": (4, None),
    "statx": (332, 291),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "write": (1, 64),
    "writev": (20, 66),
}
_MEMORY = ("brk", "madvise", "mmap", "mprotect", "mremap", "munmap")
_LIFE = ("clock_gettime", "exit", "exit_group", "futex", "restart_syscall", "rt_sigreturn")
# Datagrams in and out, the channel, and the end. `pread64`: routes, from files it holds.
WORKER = Cell(
    (
        *_MEMORY, *_LIFE, "epoll_ctl", "epoll_pwait", "epoll_wait", "getsockopt", "pread64",
        "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "write",
    ),
    {"write": (0, (_STDERR,))},
)  # fmt: skip
# Files: reading, and the few that it writes (Landlock says where); modules as they come.
COMPILER = Cell(
    (
        *_MEMORY, *_LIFE, "access", "close", "faccessat", "faccessat2", "fcntl", "fdatasync",
        "fstat", "fsync", "ftruncate", "getcwd", "getdents64", "getegid", "geteuid", "getgid",
        "getpid", "getpriority", "getrandom", "gettid", "getuid", "ioctl", "lseek", "lstat",
        "mkdir", "mkdirat", "newfstatat", "open", "openat", "pread64", "pwrite64", "read",
        "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2", "rt_sigaction",
        "rt_sigprocmask", "sched_yield", "setpriority", "sigaltstack", "stat", "statx", "sysinfo",
        "uname", "unlink", "unlinkat", "write", "writev",
    ),
    {
        "fcntl": (1, (_F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC)),
        "ioctl": (1, (_TCGETS, _FIONCLEX, _FIOCLEX)),
    },
    code=True,
)  # fmt: skip
