"""What a kernel would do with a system call: the classic BPF of seccomp(2), interpreted."""

from __future__ import annotations

import errno
import struct

X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
_ALLOW, _KILL = 0x7FFF0000, 0x80000000


def verdict(code: bytes, arch: int, nr: int, *args: int) -> str:
    """`allow`, `kill` or the name of an error."""
    data = struct.pack("=iIQ6Q", nr, arch, 0, *args, *[0] * (6 - len(args)))
    steps = list(struct.iter_unpack("=HBBI", code))
    accumulator, at = 0, 0
    while True:
        what, yes, no, k = steps[at]
        at += 1
        if what == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif what == 0x54:
            accumulator &= k
        elif what == 0x15:
            at += yes if accumulator == k else no
        elif what == 0x35:
            at += yes if accumulator >= k else no
        elif what == 0x45:
            at += yes if accumulator & k else no
        elif what == 0x06:
            if k in (_ALLOW, _KILL):
                return "allow" if k == _ALLOW else "kill"
            return errno.errorcode[k & 0xFFFF]
        else:
            raise AssertionError(hex(what))
