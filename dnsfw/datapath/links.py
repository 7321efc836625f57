"""Links: programs in their places, each kept by a descriptor or a pin."""

from __future__ import annotations

import ctypes
import errno
import struct

from dnsfw.datapath.syscall import AttachType, BpfError, Cmd, call, call_back, info
from dnsfw.values import dataclass

_PROGRAM_INFO = 224  # bytes of bpf_prog_info that we know
_LINK_INFO = 64
_LINK_CGROUP = 3  # BPF_LINK_TYPE_CGROUP
_QUERY_ROOM = 64  # programs at one hook


def link_create(
    prog_fd: int, target: int, attach_type: int, *, flags: int = 0, relative: int = 0
) -> int:
    """Attach by a link: to a cgroup descriptor, or to an interface index for TCX.

    `flags` and `relative` are TCX's (BPF_F_BEFORE is 8). The hook goes with the
    last descriptor or pin of the link.
    """
    attr = struct.pack("=IIIIIIQ", prog_fd, target, int(attach_type), flags, relative, 0, 0)
    return call(Cmd.LINK_CREATE, attr, f"attach {AttachType(attach_type).name.lower()}")


def link_update(link_fd: int, prog_fd: int) -> None:
    """Put another program in a link's place, with no packet between the two."""
    call(Cmd.LINK_UPDATE, struct.pack("=IIII", link_fd, prog_fd, 0, 0), "replace a program")


def link_detach(link_fd: int) -> None:
    """Take the hook away now, whoever else still holds the link."""
    call(Cmd.LINK_DETACH, struct.pack("=I", link_fd), "detach a link")


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What a link does; `target` is the cgroup's number or the interface's index, 0: gone."""

    program_id: int
    target: int


def link_info(link_fd: int) -> LinkInfo:
    """What the kernel says of a cgroup or TCX link."""
    raw = info(link_fd, _LINK_INFO)
    kind, _, program = struct.unpack_from("=III", raw)
    wide = kind == _LINK_CGROUP
    (target,) = struct.unpack_from("=Q" if wide else "=I", raw, 16)
    return LinkInfo(program, target)


def prog_by_id(number: int) -> int | None:
    """A descriptor of a loaded program; None for who may not have it (without CAP_SYS_ADMIN)."""
    try:
        return call(Cmd.PROG_GET_FD_BY_ID, struct.pack("=IIII", number, 0, 0, 0), "open a program")
    except BpfError as error:
        if error.errno == errno.EPERM:
            return None
        raise


def prog_id(prog_fd: int) -> int:
    """The kernel's number of a loaded program."""
    return int(struct.unpack_from("=I", info(prog_fd, _PROGRAM_INFO), 4)[0])


def prog_query(target: int, attach_type: int) -> tuple[int, ...]:
    """The numbers of the programs at a cgroup descriptor or TCX interface, in running order."""
    ids = ctypes.create_string_buffer(4 * _QUERY_ROOM)
    attr = struct.pack(
        "=IIIIQIIQQQQ",
        target,
        int(attach_type),
        0,
        0,
        ctypes.addressof(ids),
        _QUERY_ROOM,
        0,
        0,
        0,
        0,
        0,
    )
    back = call_back(Cmd.PROG_QUERY, attr, "list the programs of a hook")
    (count,) = struct.unpack_from("=I", back, 24)
    return struct.unpack_from(f"={count}I", ids.raw)
