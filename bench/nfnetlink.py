"""One netlink transaction that adds an element to an nftables set, packed by hand.

The fairest peer of a map write: no command, no library, one sendto and one recv.
"""

from __future__ import annotations

import os
import socket
import struct

_BATCH_BEGIN, _BATCH_END = 16, 17
_NEWSETELEM = 10 << 8 | 12  # NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWSETELEM
_REQUEST, _ACK = 1, 4
_CREATE = 0x400
_NESTED = 0x8000
_INET, _UNSPEC = 1, 0
_SUBSYS = 10
_ERROR = 2  # NLMSG_ERROR: an acknowledgement when its number is 0


def _attribute(kind: int, data: bytes) -> bytes:
    padded = data + bytes(-len(data) % 4)
    return struct.pack("=HH", 4 + len(data), kind) + padded


def _message(kind: int, flags: int, number: int, family: int, to: int, body: bytes) -> bytes:
    head = struct.pack("=IHHII", 20 + len(body), kind, flags, number, 0)
    return head + struct.pack("=BBH", family, 0, socket.htons(to)) + body


class SetWriter:
    """Adds IPv4 addresses with a timeout to one set of a table of family inet."""

    def __init__(self, sock: socket.socket, table: str, name: str) -> None:
        self._socket = sock
        self._socket.settimeout(2)
        self._socket.bind((0, 0))
        self._begin = _message(_BATCH_BEGIN, _REQUEST, 0, _UNSPEC, _SUBSYS, b"")
        self._end = _message(_BATCH_END, _REQUEST, 2, _UNSPEC, _SUBSYS, b"")
        self._names = _attribute(1, table.encode() + b"\0") + _attribute(2, name.encode() + b"\0")

    def packed(self, address: int, milliseconds: int) -> bytes:
        key = _attribute(1 | _NESTED, _attribute(1, address.to_bytes(4, "big")))
        timeout = _attribute(4, milliseconds.to_bytes(8, "big"))
        element = _attribute(1 | _NESTED, key + timeout)
        body = self._names + _attribute(3 | _NESTED, element)
        add = _message(_NEWSETELEM, _REQUEST | _ACK | _CREATE, 1, _INET, 0, body)
        return self._begin + add + self._end

    def send(self, message: bytes) -> None:
        """Returns when the kernel has it. OSError as the kernel says."""
        self._socket.send(message)
        reply = self._socket.recv(4096)
        kind, _, _, _, error = struct.unpack_from("=HHIIi", reply, 4)
        if kind == _ERROR and error:
            raise OSError(-error, os.strerror(-error))

    def close(self) -> None:
        self._socket.close()
