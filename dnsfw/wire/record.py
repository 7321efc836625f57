"""Resource records as read from a message: owner canonical, rdata free of pointers."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from dnsfw.errors import WireError
from dnsfw.model import Name
from dnsfw.values import dataclass
from dnsfw.wire import codes
from dnsfw.wire.name import POINTER, read_name, read_name_as_sent

__all__ = ["Record", "read_record"]

FIXED = Struct(">HHIH")  # type, class, ttl, rdlength
MAX_RDATA = 65_535
_HIGH_BIT = 0x8000_0000


class Record(NamedTuple):
    """One record. Names inside the rdata of RFC 1035's types (and those that RFC 3597 §4
    lists) are uncompressed with the sender's case; any other rdata is as it was sent.
    """

    owner: Name
    rtype: int
    rclass: int
    ttl: int  # seconds; 0 where the sender set the high bit (RFC 2181 §8)
    rdata: bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """Where names stand in an rdata: after `lead` octets and `strings` character strings."""

    names: int
    lead: int = 0
    strings: int = 0
    tail: int | None = 0  # octets after the names; None: any number


_ONE_NAME = Layout(1)
_TWO_NAMES = Layout(2)
_PREFERENCE = Layout(1, lead=2)
LAYOUTS = {
    codes.NS: _ONE_NAME,
    codes.MD: _ONE_NAME,
    codes.MF: _ONE_NAME,
    codes.CNAME: _ONE_NAME,
    codes.SOA: Layout(2, tail=20),
    codes.MB: _ONE_NAME,
    codes.MG: _ONE_NAME,
    codes.MR: _ONE_NAME,
    codes.PTR: _ONE_NAME,
    codes.MINFO: _TWO_NAMES,
    codes.MX: _PREFERENCE,
    codes.RP: _TWO_NAMES,
    codes.AFSDB: _PREFERENCE,
    codes.RT: _PREFERENCE,
    codes.SIG: Layout(1, lead=18, tail=None),
    codes.PX: Layout(2, lead=2),
    codes.NXT: Layout(1, tail=None),
    codes.SRV: Layout(1, lead=6),
    codes.NAPTR: Layout(1, lead=4, strings=3),
    codes.KX: _PREFERENCE,
    codes.DNAME: _ONE_NAME,  # must not be compressed (RFC 6672 §2.5), yet is read if it is
}
_SIZES = {codes.A: 4, codes.AAAA: 16}


def read_record(wire: bytes, at: int, seen: dict[bytes, Name]) -> tuple[Record, int]:
    """The record at an offset and the offset after it; WireError where it is none.

    `seen` remembers owners by pointer over one message: most owners are the same
    two octets, and it keeps a hostile message from being walked again for each record.
    """
    pointer = wire[at : at + 2]
    if (known := seen.get(pointer)) is not None:
        owner, at = known, at + 2
    else:
        owner, at = read_name(wire, at)
        if pointer and pointer[0] >= POINTER:
            seen[pointer] = owner
    rdata_at = at + FIXED.size
    if rdata_at > len(wire):
        raise WireError("record runs past the end")
    rtype, rclass, ttl, length = FIXED.unpack_from(wire, at)
    end = rdata_at + length
    if end > len(wire):
        raise WireError("rdata runs past the end")
    if (layout := LAYOUTS.get(rtype)) is not None:
        rdata = _decompress(wire, rdata_at, end, layout)
    else:
        if rclass == codes.IN and length != _SIZES.get(rtype, length):
            raise WireError("address has the wrong length")
        rdata = wire[rdata_at:end]
    return Record(owner, rtype, rclass, ttl if ttl < _HIGH_BIT else 0, rdata), end


def _decompress(wire: bytes, start: int, end: int, layout: Layout) -> bytes:
    at = start + layout.lead
    for _ in range(layout.strings):
        if at >= end:
            raise WireError("rdata is too short for its type")
        at += wire[at] + 1
    if at >= end:
        raise WireError("rdata is too short for its type")
    rdata = wire[start:at]
    for _ in range(layout.names):
        name, at = read_name_as_sent(wire, at)
        rdata += name
    if at > end or (layout.tail is not None and at + layout.tail != end):
        raise WireError("rdata length does not fit its content")
    rdata += wire[at:end]
    if len(rdata) > MAX_RDATA:
        raise WireError("rdata is too long once its names are whole")
    return rdata
