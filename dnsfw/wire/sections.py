"""The sections after the question, written with every name compressed that may be."""

from __future__ import annotations

from dnsfw.model import Name
from dnsfw.wire import codes
from dnsfw.wire.name import POINTER, suffix_starts
from dnsfw.wire.parts import HEADER, PAIR
from dnsfw.wire.record import FIXED, LAYOUTS, Record

__all__ = ["MAX_TTL", "TTL_AT", "Sections"]

MAX_TTL = 0x7FFF_FFFF  # RFC 2181 §8
MAX_POINTER = 0x3FFF
TTL_AT = 4  # after type and class
# Types whose names every client can read compressed (RFC 3597 §4), as far as they are met.
_COMPRESSIBLE = frozenset({codes.NS, codes.CNAME, codes.SOA, codes.PTR, codes.MX})


class Sections:
    """Collects records; `body` is what follows the question, `ttls` where each TTL stands.

    Names are compared without case, so a name may be shown in the case of an earlier one.
    """

    def __init__(self, asked: Name) -> None:
        self._base = HEADER.size + len(asked) + PAIR.size
        self._known: dict[bytes, int] = {}
        self.body = bytearray()
        self.ttls: list[tuple[int, int]] = []  # offset in body, seconds
        self._learn(asked, HEADER.size, len(asked))

    def add(self, record: Record) -> None:
        """Write one record after those before it."""
        self._name(record.owner)
        fixed = len(self.body)
        ttl = min(record.ttl, MAX_TTL)
        self.ttls.append((fixed + TTL_AT, ttl))
        self.body += FIXED.pack(record.rtype, record.rclass, ttl, len(record.rdata))
        if record.rtype not in _COMPRESSIBLE:
            self.body += record.rdata
            return
        self._rdata(record)
        length = len(self.body) - fixed - FIXED.size
        self.body[fixed + FIXED.size - 2 : fixed + FIXED.size] = length.to_bytes(2, "big")

    def _rdata(self, record: Record) -> None:
        layout = LAYOUTS[record.rtype]
        rdata = record.rdata
        at = layout.lead
        self.body += rdata[:at]
        for _ in range(layout.names):
            *_, root = suffix_starts(Name(rdata[at:]))
            self._name(rdata[at : at + root + 1])
            at += root + 1
        self.body += rdata[at:]

    def _name(self, name: bytes) -> None:
        here = self._base + len(self.body)
        lower = name.lower()
        for start in suffix_starts(Name(lower)):
            known = self._known.get(lower[start:])
            if known is not None:
                self.body += name[:start] + (POINTER << 8 | known).to_bytes(2, "big")
                self._learn(lower, here, start)
                return
        self.body += name
        self._learn(lower, here, len(name))

    def _learn(self, name: bytes, at: int, until: int) -> None:
        """Remember where each suffix that begins before `until` now stands."""
        for start in suffix_starts(Name(name)):
            if start >= until or at + start > MAX_POINTER:
                return
            if name[start]:  # two octets do not shorten the root's one
                self._known[name[start:]] = at + start
