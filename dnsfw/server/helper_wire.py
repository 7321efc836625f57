"""What daemon and helper say to each other: one JSON object a message, descriptors beside it."""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from dnsfw import __version__
from dnsfw.datapath.abi import Abi
from dnsfw.errors import DatapathError

__all__ = ["LONGEST", "Reply", "code", "receive", "send"]

LONGEST = 1 << 20  # bytes of a message: some thousand executables, or sockets
MOST_DESCRIPTORS = 64  # of one message; the kernel's own limit is 253 (SCM_MAX_FD)

Reply = dict[str, Any]


def code() -> str:
    """Both sides are of one version: the helper is as old as the code on disk when it is first
    asked for something.
    """
    return f"{__version__} {int(Abi.VERSION)}"


def receive(pair: socket.socket) -> tuple[bytes, list[int]]:
    """One message and its descriptors; empty at the end."""
    room = socket.CMSG_LEN(MOST_DESCRIPTORS * 4)
    data, control, flags, _ = pair.recvmsg(LONGEST, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, raw in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(raw[: len(raw) // 4 * 4])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise DatapathError("a message to or from the helper was too long")
    return data, list(fds)


def send(pair: socket.socket, message: Reply, fds: Sequence[int] = ()) -> None:
    """One message with descriptors."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    pair.sendmsg([json.dumps(message, separators=(",", ":")).encode()], rights)
