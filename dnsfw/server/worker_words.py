"""What a worker and its daemon say to each other, as octets; one message a datagram.

The daemon believes a worker nothing but that these queries came (row 50 in another process):
what it says is read with bounds, and ValueError is the worker's end. A worker believes its
daemon, which started it.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Any, NamedTuple

from dnsfw.engine.cache import KEY_FLAGS, CacheKey, Ready
from dnsfw.errors import WireError
from dnsfw.model import Nanos, RoleId
from dnsfw.wire.name import read_name
from dnsfw.wire.parts import PAIR
from dnsfw.wire.reply import Parts, Template

__all__ = [
    "FORGET", "LONGEST", "LONGEST_BODY", "NAME", "QUERIES", "READY", "Handed", "pack_copy",
    "pack_query", "pack_told", "read_copy", "read_key", "read_queries", "read_told", "write_key",
]  # fmt: skip

LONGEST = 1 << 17  # octets of a message
LONGEST_BODY = 4096  # of a reply that is worth a copy: over UDP a longer one is cut anyway
NAME = 28  # octets of a sockaddr, of either family
_INFO = 20  # octets of a pktinfo, of either family
_QUERY = Struct(f"=BxHI{NAME}s{_INFO}s")  # listener, length, mark, sender, address asked

QUERIES, READY, TOLD = b"Q", b"R", b"T"  # from a worker
COPY, FORGET = b"C", b"F"  # from the daemon; forget who was a neighbour


class Handed(NamedTuple):
    """A datagram that a worker read and cannot answer."""

    listener: int
    mark: int
    name: bytes
    info: bytes
    wire: bytes


def pack_query(listener: int, mark: int, name: bytes, info: bytes, wire: bytes) -> bytes:
    """One of those that follow QUERIES in a message."""
    return _QUERY.pack(listener, len(wire), mark, name, info) + wire


def read_queries(message: bytes) -> Iterator[Handed]:
    """ValueError where it breaks off."""
    at, end = 1, len(message)
    while at < end:
        start = at + _QUERY.size
        if start > end:
            raise ValueError("a worker's message breaks off")
        listener, length, mark, name, info = _QUERY.unpack_from(message, at)
        at = start + length
        if at > end:
            raise ValueError("a worker's message breaks off")
        yield Handed(listener, mark, name, info, message[start:at])


def pack_told(**words: Any) -> bytes:
    """What a worker counted, wants renewed, or cannot keep up with."""
    return TOLD + json.dumps(words, separators=(",", ":")).encode()


def read_told(message: bytes) -> Mapping[str, Any]:
    """ValueError if it is no object."""
    found = json.loads(message[1:])
    if not isinstance(found, dict):
        raise ValueError("a worker says what nobody understands")
    return found


def write_key(key: CacheKey) -> list[int | str]:
    """As JSON can have it."""
    return [key.role, key.key.hex(), int(key.do), key.flags]


def read_key(told: object) -> CacheKey:
    """ValueError, TypeError if it is none."""
    if not isinstance(told, list):
        raise ValueError("that is no key")
    role, text, do, flags = told
    question = bytes.fromhex(text)
    try:
        name, end = read_name(question, 0)
    except WireError as error:
        raise ValueError(str(error)) from None
    if question[:end] != name or len(question) != end + PAIR.size:
        raise ValueError("that is no question")
    return CacheKey(RoleId(int(role)), question, bool(do), int(flags) & KEY_FLAGS)


def pack_copy(epoch: int, key: CacheKey, ready: Ready) -> bytes:
    """A reply that the worker may give until it ends, or the epoch does."""
    parts = [_plain(part) for part in ready.template.parts]
    return COPY + marshal.dumps((epoch, list(map(_plain, key)), parts, ready.born, ready.until))


def _plain(value: Any) -> Any:
    """Without the names of an enum, of which `marshal` knows nothing."""
    return int(value) if isinstance(value, int) else value


def read_copy(message: bytes) -> tuple[int, CacheKey, Ready]:
    """Only of what the daemon sent."""
    epoch, key, parts, born, until = marshal.loads(message[1:])
    ready = Ready(Template.of(Parts(*parts)), Nanos(born), Nanos(until))
    return epoch, CacheKey(*key), ready
