"""A filter on system calls for a command: no new sockets that the hooks cannot judge, and
no descriptor that leads out of its cgroup (see fence.py).

What packet hooks in a cgroup do not see: frames of AF_PACKET and AF_XDP, which pass below
them; AF_VSOCK, Bluetooth, CAN and the like, which are no IP; and sockets that io_uring
makes without socket(2), past this filter. Raw IP sockets are judged, yet nobody needs one
to fetch a file. AF_UNIX and AF_NETLINK stay: programs do not start without them.

The filter is classic BPF by hand (seccomp(2)). A second architecture is a second table of
numbers, so each one that the kernel can run here has its own block, and any other is
refused whole; so is x32, whose numbers are those of x86-64 with a bit set.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from struct import Struct

from dnsfw.errors import DatapathError
from dnsfw.values import dataclass

__all__ = ["Numbers", "install", "program"]

_LD_ABS, _JEQ, _JGE, _AND, _RET = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24  # struct seccomp_data, low halves (little-endian)
_INSTRUCTION = Struct("=HBBI")
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_X32_BIT = 0x40000000
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
_IP = (socket.AF_INET, socket.AF_INET6)
_TYPE_MASK = 0xF  # the rest of the argument is SOCK_NONBLOCK and SOCK_CLOEXEC
_SOCK_RAW, _SOCK_PACKET = 3, 10
_CLONE_NEWNET = 0x40000000

# struct sock_filter: code, where to jump if true and if false, operand
Code = list[tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class Numbers:
    """The system calls of one architecture that matter here."""

    arch: int  # AUDIT_ARCH_*
    socket: int
    io_uring_setup: int
    clone3: int
    setns: int
    open_by_handle_at: int
    socketcall: int | None = None  # socket(2) with its arguments in memory: cannot be read
    x32: bool = False


_X86_64 = Numbers(0xC000003E, 41, 425, 435, 308, 304, x32=True)
_I386 = Numbers(0x40000003, 359, 425, 435, 346, 342, socketcall=102)
_AARCH64 = Numbers(0xC00000B7, 198, 425, 435, 268, 265)
_ARM = Numbers(0x40000028, 281, 425, 435, 375, 371, socketcall=102)
_MACHINES = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64, _ARM)}


def program(machine: str, *, raw: bool, escape: bool) -> bytes:
    """The filter for this machine: with `raw` no unjudged sockets, with `escape` no descriptor
    that leads to another cgroup (clone3, setns, open_by_handle_at). DatapathError: not known.
    """
    if machine not in _MACHINES:
        known = " and ".join(_MACHINES)
        raise DatapathError(
            f"no system call filter for {machine}, only for {known}; remedy: leave the guard out, "
            "or use --user with --net private"
        )
    blocks = [_block(numbers, raw=raw, escape=escape) for numbers in _MACHINES[machine]]
    code: Code = [(_LD_ABS, 0, 0, _ARCH)]
    for numbers, block in zip(_MACHINES[machine], blocks, strict=True):
        # A jump is at most 255 long: the blocks have a few dozen instructions.
        code += [(_JEQ, 0, len(block), numbers.arch), *block]
    code.append(_refuse(errno.ENOSYS))
    return b"".join(_INSTRUCTION.pack(*item) for item in code)


def install(code: bytes) -> None:
    """For this thread and everything it starts, for good. DatapathError: no seccomp.

    Without CAP_SYS_ADMIN the kernel wants no_new_privs first (seccomp(2)).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code, len(code))
    fprog = Struct("@HP").pack(len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    for _ in range(2):
        if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, fprog, 0, 0) == 0:
            return
        failed = ctypes.get_errno()
        if failed != errno.EACCES or libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            break
    raise DatapathError(
        f"the system call filter was refused: {os.strerror(failed)}; it needs CONFIG_SECCOMP_FILTER"
    )


def _block(numbers: Numbers, *, raw: bool, escape: bool) -> Code:
    """What is judged once the architecture is known; ends in a return on every way."""
    code: Code = [(_LD_ABS, 0, 0, _NR)]
    if numbers.x32:
        code += _when(_JGE, _X32_BIT, errno.ENOSYS)
    if escape:
        code += _when(_JEQ, numbers.clone3, errno.ENOSYS)  # libc falls back to clone
        code += _when(_JEQ, numbers.open_by_handle_at, errno.EPERM)
        # The kernel lists mount namespaces to root (nsfs, Linux 6.12), past Landlock.
        network = [(_LD_ABS, 0, 0, _ARG1), (_JEQ, 1, 0, _CLONE_NEWNET), _refuse(errno.EPERM)]
        network.append((_RET, 0, 0, _ALLOW))
        code += [(_JEQ, 0, len(network), numbers.setns), *network]
    if raw:
        code += _when(_JEQ, numbers.io_uring_setup, errno.ENOSYS)
        if numbers.socketcall is not None:
            code += _when(_JEQ, numbers.socketcall, errno.ENOSYS)
        judged = _sockets()
        code += [(_JEQ, 0, len(judged), numbers.socket), *judged]
    code.append((_RET, 0, 0, _ALLOW))
    return code


def _sockets() -> Code:
    """socket(family, type, protocol): known families, and of IP no raw types."""
    raw_check: Code = [
        (_LD_ABS, 0, 0, _ARG1),
        (_AND, 0, 0, _TYPE_MASK),
        *_when(_JEQ, _SOCK_RAW, errno.EPERM),
        *_when(_JEQ, _SOCK_PACKET, errno.EPERM),
        (_RET, 0, 0, _ALLOW),
    ]
    code: Code = [(_LD_ABS, 0, 0, _ARG0)]
    others = [family for family in _FAMILIES if family not in _IP]
    code += [step for family in others for step in ((_JEQ, 0, 1, family), (_RET, 0, 0, _ALLOW))]
    first, last = _IP
    code += [(_JEQ, 1, 0, first), (_JEQ, 0, len(raw_check), last)]
    return [*code, *raw_check, _refuse(errno.EAFNOSUPPORT)]


def _when(test: int, value: int, error: int) -> Code:
    return [(test, 0, 1, value), _refuse(error)]


def _refuse(error: int) -> tuple[int, int, int, int]:
    return (_RET, 0, 0, _ERRNO | error)
