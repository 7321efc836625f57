"""What queries and answers have in common: header, question and the OPT record."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from dnsfw.errors import WireError
from dnsfw.model import Name
from dnsfw.wire.codes import OPT
from dnsfw.wire.name import ROOT, read_name, skip_name
from dnsfw.wire.record import FIXED

__all__ = ["DO", "HEADER", "PAIR", "Edns", "read_additional", "read_question", "write_opt"]

HEADER = Struct(">HHHHHH")  # id, flags, counts of questions, answers, authority, additional
PAIR = Struct(">HH")  # type and class, code and length
DO = 0x8000
MAX_OPTIONS = 32  # nobody sends ten; a full message could hold 16,000


class Edns(NamedTuple):
    """What an OPT record says (RFC 6891)."""

    size: int
    do: bool = False
    version: int = 0
    options: tuple[tuple[int, bytes], ...] = ()


def read_question(wire: bytes) -> tuple[Name, int, int, int]:
    """Name, type and class of the first question, and the offset after it."""
    name, at = read_name(wire, HEADER.size)
    if at + PAIR.size > len(wire):
        raise WireError("question runs past the end")
    qtype, qclass = PAIR.unpack_from(wire, at)
    return name, qtype, qclass, at + PAIR.size


def read_additional(wire: bytes, at: int, count: int) -> tuple[Edns | None, int, int]:
    """The OPT record if there is one, the rcode's high bits, and where the section ends.

    Other records are checked for their length and forgotten. WireError for a second
    OPT, one below another owner than the root (RFC 6891 §6.1.1), or options that lie.
    """
    edns = None
    high = 0
    for _ in range(count):
        owner = at
        at = skip_name(wire, at)
        start = at + FIXED.size
        if start > len(wire):
            raise WireError("record runs past the end")
        rtype, size, ttl, length = FIXED.unpack_from(wire, at)
        at = start + length
        if at > len(wire):
            raise WireError("rdata runs past the end")
        if rtype != OPT:
            continue
        if edns is not None:
            raise WireError("more than one OPT record")
        if wire[owner]:
            raise WireError("the owner of OPT is not the root")
        high = ttl >> 24
        edns = Edns(size, bool(ttl & DO), ttl >> 16 & 0xFF, _read_options(wire[start:at]))
    return edns, high, at


def _read_options(rdata: bytes) -> tuple[tuple[int, bytes], ...]:
    options: list[tuple[int, bytes]] = []
    at = 0
    while at < len(rdata):
        start = at + PAIR.size
        if start > len(rdata):
            raise WireError("EDNS option runs past the end")
        if len(options) == MAX_OPTIONS:
            raise WireError("too many EDNS options")
        code, length = PAIR.unpack_from(rdata, at)
        at = start + length
        if at > len(rdata):
            raise WireError("EDNS option runs past the end")
        options.append((code, rdata[start:at]))
    return tuple(options)


def write_opt(rcode: int, do: bool, size: int, options: bytes = b"") -> bytes:
    """An OPT record of version 0, with the high bits of the rcode."""
    ttl = (rcode >> 4) << 24 | (DO if do else 0)
    return ROOT + FIXED.pack(OPT, size, ttl, len(options)) + options
