"""Answers from upstreams, and one place to import the words of a message from.

Read as liberally as is safe: what a real server sends is understood, what lies
about a count, a length or a name is a WireError, which the engine takes for junk.
"""

from __future__ import annotations

from dnsfw.errors import WireError
from dnsfw.model import Name
from dnsfw.values import dataclass
from dnsfw.wire.codes import (
    AA,
    AAAA,
    AD,
    ANY,
    AXFR,
    CD,
    CNAME,
    DNAME,
    DS,
    HINFO,
    HTTPS,
    IN,
    IXFR,
    MX,
    NS,
    NSEC,
    OPCODE,
    OPT,
    PTR,
    QR,
    RCODE,
    RD,
    RRSIG,
    SOA,
    SRV,
    SVCB,
    TC,
    TXT,
    A,
    Ede,
    Rcode,
)
from dnsfw.wire.name import ROOT, skip_name
from dnsfw.wire.parts import HEADER, PAIR, Edns, read_additional, read_question
from dnsfw.wire.query import MAX_UDP, Asked, Peek, Query, Refuse, peek, read_query, whole
from dnsfw.wire.record import Record, read_record

__all__ = [
    "A",
    "AAAA",
    "AD",
    "ANY",
    "AXFR",
    "CD",
    "CNAME",
    "DNAME",
    "DS",
    "HINFO",
    "HTTPS",
    "IN",
    "IXFR",
    "MAX_UDP",
    "MX",
    "NS",
    "NSEC",
    "OPT",
    "PTR",
    "RD",
    "RRSIG",
    "SOA",
    "SRV",
    "SVCB",
    "TXT",
    "Asked",
    "Ede",
    "Edns",
    "Peek",
    "Query",
    "Rcode",
    "Record",
    "Refuse",
    "Response",
    "echoes",
    "peek",
    "read_query",
    "read_response",
    "whole",
]

_BARE_RCODES = frozenset({Rcode.FORMERR, Rcode.SERVFAIL, Rcode.NOTIMP, Rcode.REFUSED})


@dataclass(frozen=True, slots=True)
class Response:
    """An upstream's answer. A truncated one has no records: nothing is learned from it."""

    id: int
    flags: int
    rcode: int  # extended by the OPT record
    name: Name
    qtype: int
    qclass: int
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    edns: Edns | None = None

    @property
    def aa(self) -> bool:
        return bool(self.flags & AA)

    @property
    def tc(self) -> bool:
        return bool(self.flags & TC)

    @property
    def ad(self) -> bool:
        return bool(self.flags & AD)


def read_response(wire: bytes) -> Response:
    """The answer in these bytes; WireError if a count, a length or a name lies.

    Octets after the last record are ignored: some servers pad. Records of the
    additional section are checked and forgotten. An error without a question
    (old servers on EDNS) has the root as its name and type 0.
    """
    if len(wire) < HEADER.size:
        raise WireError("shorter than a header")
    id_, flags, questions, answers, authority, additional = HEADER.unpack_from(wire)
    if not flags & QR or flags & OPCODE:
        raise WireError("not an answer to a query")
    if not questions and _bare_error(wire):
        return Response(id_, flags, flags & RCODE, ROOT, 0, 0)
    if questions != 1:
        raise WireError("not exactly one question")
    name, qtype, qclass, at = read_question(wire)
    if flags & TC:  # cut anywhere, so the counts may lie; it is asked again over TCP
        return Response(id_, flags, flags & RCODE, name, qtype, qclass)
    seen: dict[bytes, Name] = {}
    sections = []
    for count in (answers, authority):
        records = []
        for _ in range(count):
            record, at = read_record(wire, at, seen)
            if record.rtype == OPT:
                raise WireError("OPT outside the additional section")
            records.append(record)
        sections.append(tuple(records))
    edns, high, _ = read_additional(wire, at, additional)
    rcode = high << 4 | flags & RCODE
    return Response(id_, flags, rcode, name, qtype, qclass, sections[0], sections[1], edns)


def echoes(response: bytes, query: bytes) -> bool:
    """Whether the response can be the answer to our query: id, opcode, question to the byte.

    An error without any section may leave the question out. Never raises.
    """
    if len(response) < HEADER.size or response[:2] != query[:2]:
        return False
    if response[2] & 0xF8 != 0x80:  # QR set, opcode QUERY
        return False
    if _bare_error(response):
        return True
    try:
        end = skip_name(query, HEADER.size) + PAIR.size
    except WireError:
        return False
    asked = query[HEADER.size : end]
    return response[4:6] == b"\0\1" and response[HEADER.size : end] == asked


def _bare_error(wire: bytes) -> bool:
    """A header alone with FORMERR, SERVFAIL, NOTIMP or REFUSED."""
    return len(wire) == HEADER.size and not any(wire[4:]) and wire[3] & RCODE in _BARE_RCODES
