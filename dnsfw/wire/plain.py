"""Answers that are nothing but addresses of the name that was asked for, read in one pass.

Most are. Whatever looks different in any way is None, and left to `read_response`; a test
holds what is read here to what that reads.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from dnsfw.wire.codes import AAAA, AD, IN, OPCODE, OPT, QR, RCODE, TC, A
from dnsfw.wire.parts import HEADER, PAIR

__all__ = ["HEAD", "OPT_SIZE", "ROWS", "Addresses", "read_addresses"]

HEAD = 12  # octets of such a record in front of its address
OPT_SIZE = 11  # of an OPT record without options

_OWNER = b"\xc0\x0c"  # a pointer to the question: how every server writes it
ROWS = {A: Struct(">6sI2s4s"), AAAA: Struct(">6sI2s16s")}  # head, TTL, length, address
_LAYOUTS = {
    PAIR.pack(kind, IN): (
        _OWNER + PAIR.pack(kind, IN), size.to_bytes(2, "big"), ROWS[kind], ROWS[kind].size,
    )
    for kind, size in ((A, 4), (AAAA, 16))
}
_SHAPE = QR | OPCODE | TC | RCODE
_OPT_HEAD = b"\0" + OPT.to_bytes(2, "big")
_HIGH_BIT = 0x8000_0000
_new = tuple.__new__  # of a named tuple, without the call in between


class Addresses(NamedTuple):
    """The answer section of such an answer."""

    body: bytes
    rows: Struct  # one record of it
    found: list[bytes]  # the addresses, each once
    ttl: int  # the least; more than 0
    most: int  # the greatest
    ad: bool


def read_addresses(wire: bytes, asked: bytes) -> Addresses | None:
    """What answers a query of ours (one question, in lower case, and an OPT without options);
    None where there is more to it, or it answers something else.
    """
    end = len(asked) - OPT_SIZE
    layout = _LAYOUTS.get(asked[end - PAIR.size : end])
    if layout is None or len(wire) <= end or wire[:2] != asked[:2]:
        return None
    _, flags, questions, count, authority, additional = HEADER.unpack_from(wire)
    if flags & _SHAPE != QR or questions != 1 or authority or not count or additional > 1:
        return None
    head, length, rows, size = layout
    stop = end + size * count
    tail = wire[stop:]
    if wire[HEADER.size : end] != asked[HEADER.size : end] or not (
        len(tail) == OPT_SIZE and _says_nothing(tail) if additional else not tail
    ):
        return None
    body = wire[end:stop]
    if len(body) != stop - end:
        return None
    if count == 1:
        start, ttl, told, address = rows.unpack(body)
        if start != head or told != length or not 0 < ttl < _HIGH_BIT:
            return None
        return _new(Addresses, (body, rows, [address], ttl, ttl, bool(flags & AD)))
    found = []
    least = most = 0
    for start, ttl, told, address in rows.iter_unpack(body):
        if start != head or told != length or not 0 < ttl < _HIGH_BIT:
            return None
        found.append(address)
        if ttl > most:
            most = ttl
        if ttl < least or not least:
            least = ttl
    if len(set(found)) < count:
        return None
    return _new(Addresses, (body, rows, found, least, most, bool(flags & AD)))


@lru_cache(maxsize=256)  # an upstream ends its answers alike
def _says_nothing(tail: bytes) -> bool:
    """Whether it is the OPT record without options."""
    return (
        tail.startswith(_OPT_HEAD)
        and not any(tail[5:7])  # the rcode's high bits, the version
        and not any(tail[9:])
    )
