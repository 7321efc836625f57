"""Queries and answers for the bench: numbered names, and an upstream that knows them all.

`n7.example.com` has the address 198.18.0.7 (RFC 2544: a network for measuring); names
are never looked up in a table, so the upstream costs next to nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

import support  # noqa: F401 - it makes the checkout importable

from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query

ZONE = "example.com"
TTL = 3600
NETWORK = 198 << 24 | 18 << 16
_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHHIHI")  # pointer to the question, A, IN, TTL, four octets
_ALIAS = struct.Struct(">HHHIH")
_POLICY = f"""version: 1
default: deny
rules:
  - allow: "*.{ZONE}:443"
  - allow: "*.pypi.org:443"
  - allow: ["api-*.example.net:443,8443", "github.com:22,443"]
  - allow: 10.20.0.0/16:5432/tcp
  - deny: "*.tracker.example"
"""


def policy(upstream: str = "", refuse: str = "nxdomain") -> str:
    """A small policy under which every name of the zone is allowed."""
    dns = f"dns:\n  refuse: {refuse}\n"
    return _POLICY + dns + (f'  upstreams: ["{upstream}"]\n' if upstream else "")


def numbered(number: int) -> str:
    return f"n{number}.{ZONE}"


def query(name: str, id: int = 0x1234) -> bytes:
    """What a stub resolver with EDNS sends for an A record."""
    return write_query(id, from_text(name), 1)


def answer(asked: bytes) -> bytes:
    """The one A record of a numbered name, for an upstream's side of a query."""
    length = asked[12]
    number = int(asked[14 : 13 + length])
    end = asked.index(b"\0", 12) + 5
    return (
        asked[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + asked[12:end]
        + _RECORD.pack(0xC00C, 1, 1, TTL, 4, NETWORK + number)
    )


def long_answer(asked: bytes) -> bytes:
    """The same name as an alias of `cdn.ZONE`, with four addresses."""
    length = asked[12]
    number = int(asked[14 : 13 + length])
    end = asked.index(b"\0", 12) + 5
    target = b"\3cdn" + struct.pack(">H", 0xC000 | (13 + length))
    at = end + _ALIAS.size
    alias = _ALIAS.pack(0xC00C, 5, 1, TTL, len(target)) + target
    records = b"".join(
        _RECORD.pack(0xC000 | at, 1, 1, TTL, 4, NETWORK + 4 * number + i) for i in range(4)
    )
    return asked[:2] + b"\x81\x80\0\1\0\5\0\0\0\0" + asked[12:end] + alias + records


def addresses(reply: bytes) -> tuple[int, tuple[str, ...]]:
    """Rcode and sorted A records: what two servers must agree about."""
    from dnsfw.wire.message import read_response

    found = read_response(reply)
    texts = sorted(socket.inet_ntoa(r.rdata) for r in found.answers if r.rtype == 1)
    return int(found.rcode), tuple(texts)


def unknown(asked: bytes) -> bytes:
    """NXDOMAIN, which every resolver says of a name that is none."""
    return asked[:2] + b"\x81\x83" + asked[4:6] + bytes(6) + asked[12 : _end(asked)]


def _end(asked: bytes) -> int:
    """Behind the question."""
    return asked.index(b"\0", 12) + 5


class Upstream:
    """A child process that answers on a socket that was bound for it: of the names of the zone
    what `reply` says, of others (a start asks for one that nobody has) that there is none.
    """

    def __init__(self, sock: socket.socket, reply: Callable[[bytes], bytes] = answer) -> None:
        self._pid = os.fork()
        if self._pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            while True:
                with suppress(OSError, ValueError, IndexError):
                    asked, peer = sock.recvfrom(4096)
                    try:
                        found = reply(asked)
                    except ValueError:
                        found = unknown(asked)
                    sock.sendto(found, peer)
        sock.close()

    def close(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def __enter__(self) -> Upstream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
