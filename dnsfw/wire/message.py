"""Messages: bytes in, values out; strict with queries, as liberal with answers as is safe.

`peek` is the hot path for the query everyone sends; `read_query` judges every
other one, and refuses with all that `reply.write_error` needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple, Protocol

from dnsfw.errors import WireError
from dnsfw.model import Name
from dnsfw.wire.codes import (
    AAAA,
    ANY,
    AXFR,
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
    NXNAME,
    OPT,
    PTR,
    RRSIG,
    SOA,
    SRV,
    SVCB,
    TXT,
    A,
    Ede,
    Rcode,
)
from dnsfw.wire.name import ROOT, read_name, skip_name
from dnsfw.wire.record import FIXED, Record, read_record

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
]

QR = 0x8000
OPCODE = 0x7800
AA = 0x0400
TC = 0x0200
RD = 0x0100
RA = 0x0080
AD = 0x0020
CD = 0x0010
RCODE = 0x000F

MIN_UDP = 512  # what every client takes (RFC 1035 §4.2.1)
MAX_UDP = 1232  # never fragments on a 1280-octet path (RFC 9715)
MAX_OPTIONS = 32  # nobody sends ten; a full message could hold 16,000
DO = 0x8000

HEADER = Struct(">HHHHHH")  # id, flags, four counts
TYPE_CLASS = Struct(">HH")
_OPT_RECORD = Struct(">BHHBBHH")  # root, type, size, rcode's high bits, version, flags, length
_PLAIN_FLAGS = RD | AD | CD
# OPT is no question; 128-255 are questions about no one type: transfers, mail, keys (RFC 6895
# §3.1). ANY alone is left to the engine, which answers it as RFC 8482 says.
_NO_QUESTION = frozenset({0, OPT, *range(128, 256)})


@dataclass(frozen=True, slots=True)
class Edns:
    """What an OPT record says (RFC 6891)."""

    size: int
    do: bool = False
    version: int = 0
    options: tuple[tuple[int, bytes], ...] = ()


class Asked(Protocol):
    """What a reply needs of the query: `Query` and `Peek` both have it."""

    @property
    def id(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def question(self) -> bytes: ...
    @property
    def opt(self) -> bool: ...
    @property
    def do(self) -> bool: ...
    @property
    def limit(self) -> int: ...


class Peek(NamedTuple):
    """A plain query, read no further than a cache needs."""

    id: int
    flags: int
    key: bytes  # canonical name, then type and class: equal for equal questions only
    question: bytes  # as the client sent it
    opt: bool
    do: bool
    limit: int

    @property
    def cd(self) -> bool:
        return bool(self.flags & CD)


@dataclass(frozen=True, slots=True)
class Query:
    """A query that passed every check but policy."""

    id: int
    flags: int
    name: Name
    qtype: int
    qclass: int
    question: bytes  # the section's bytes, case as sent: echoed byte for byte
    edns: Edns | None = None

    @property
    def rd(self) -> bool:
        return bool(self.flags & RD)

    @property
    def ad(self) -> bool:
        return bool(self.flags & AD)

    @property
    def cd(self) -> bool:
        return bool(self.flags & CD)

    @property
    def opcode(self) -> int:
        return (self.flags & OPCODE) >> 11

    @property
    def opt(self) -> bool:
        return self.edns is not None

    @property
    def do(self) -> bool:
        return self.edns is not None and self.edns.do

    @property
    def limit(self) -> int:
        """Octets that a reply over UDP may have."""
        return _limit(self.edns.size) if self.edns else MIN_UDP

    @property
    def key(self) -> bytes:
        """The same bytes as `Peek.key`."""
        return self.name + self.question[-4:]


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


class Refuse(WireError):
    """This query gets an error, or silence, whatever the policy says."""

    def __init__(
        self,
        why: str,
        rcode: Rcode = Rcode.FORMERR,
        *,
        silent: bool = False,
        id: int = 0,
        flags: int = 0,
        question: bytes = b"",
        edns: Edns | None = None,
    ) -> None:
        super().__init__(why)
        self.rcode = rcode
        self.silent = silent
        self.id = id
        self.flags = flags
        self.question = question
        self.edns = edns


def peek(wire: bytes) -> Peek | None:
    """The query, if it is a plain one; None sends it to `read_query`.

    Plain: one IN question about one type, and at most an OPT record without options.
    """
    try:
        id_, flags, questions, answers, authority, additional = HEADER.unpack_from(wire)
        if flags & ~_PLAIN_FLAGS or questions != 1 or answers or authority or additional > 1:
            return None
        at = 12
        while length := wire[at]:
            if length > 63:
                return None
            at += length + 1
        at += 1
        end = at + 4
        qtype, qclass = TYPE_CLASS.unpack_from(wire, at)
        if qclass != IN or qtype in _NO_QUESTION or at > 12 + 255:
            return None
        size = 0
        do = False
        if additional:
            root, rtype, size, high, version, bits, length = _OPT_RECORD.unpack_from(wire, end)
            if root or rtype != OPT or high or version or length or bits & ~DO:
                return None
            do = bits == DO
            if len(wire) != end + 11:
                return None
        elif len(wire) != end:
            return None
    except (IndexError, ValueError, ArithmeticError):
        return None
    except Exception:
        return None
    # Only the name is folded: type 65 would else become type 97.
    key = wire[12:at].lower() + wire[at:end]
    limit = MIN_UDP if size <= MIN_UDP else min(size, MAX_UDP)
    return Peek(id_, flags, key, wire[12:end], bool(additional), do, limit)


def read_query(wire: bytes) -> Query:
    """The query in these bytes; Refuse (a WireError) says what its sender hears instead."""
    if len(wire) < HEADER.size:
        raise Refuse("shorter than a header", silent=True)
    id_, flags, questions, answers, authority, additional = HEADER.unpack_from(wire)
    if flags & QR:  # answering answers is how loops begin
        raise Refuse("not a query", silent=True)

    def refuse(
        why: str, rcode: Rcode = Rcode.FORMERR, question: bytes = b"", edns: Edns | None = None
    ) -> Refuse:
        return Refuse(why, rcode, id=id_, flags=flags, question=question, edns=edns)

    if flags & OPCODE:
        raise refuse("opcode is not QUERY", Rcode.NOTIMP)
    if questions != 1:  # RFC 9619; none at all is for cookies, which dnsfw does not give
        raise refuse("not exactly one question")
    try:
        name, qtype, qclass, end = _read_question(wire)
    except WireError as error:
        raise refuse(str(error)) from None
    question = wire[HEADER.size : end]
    if answers or authority or flags & TC:
        raise refuse("a query with records or truncated", question=question)
    try:
        edns, _, end = _read_additional(wire, end, additional)
        if end != len(wire):
            raise WireError("octets after the message")
    except WireError as error:
        raise refuse(str(error), question=question) from None
    if edns and edns.version:
        raise refuse("EDNS version is not 0", Rcode.BADVERS, question, edns)
    if qtype == NXNAME:  # RFC 9824 §3.4
        raise refuse("NXNAME is no question", Rcode.FORMERR, question, edns)
    if qclass != IN or (qtype in _NO_QUESTION and qtype != ANY):
        raise refuse("class or type is not served", Rcode.REFUSED, question, edns)
    return Query(id_, flags, name, qtype, qclass, question, edns)


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
    name, qtype, qclass, at = _read_question(wire)
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
    edns, high, _ = _read_additional(wire, at, additional)
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
        end = skip_name(query, HEADER.size) + TYPE_CLASS.size
    except WireError:
        return False
    asked = query[HEADER.size : end]
    return response[4:6] == b"\0\1" and response[HEADER.size : end] == asked


def _bare_error(wire: bytes) -> bool:
    """A header alone with FORMERR, SERVFAIL, NOTIMP or REFUSED."""
    return len(wire) == HEADER.size and not any(wire[4:]) and wire[3] & RCODE in (1, 2, 4, 5)


def _limit(size: int) -> int:
    return max(MIN_UDP, min(size, MAX_UDP))


def _read_question(wire: bytes) -> tuple[Name, int, int, int]:
    name, at = read_name(wire, HEADER.size)
    if at + TYPE_CLASS.size > len(wire):
        raise WireError("question runs past the end")
    qtype, qclass = TYPE_CLASS.unpack_from(wire, at)
    return name, qtype, qclass, at + TYPE_CLASS.size


def _read_additional(wire: bytes, at: int, count: int) -> tuple[Edns | None, int, int]:
    """The OPT record if there is one, the rcode's high bits, and where the section ends."""
    edns = None
    high = 0
    for _ in range(count):
        start = at
        at = skip_name(wire, at)
        if at + FIXED.size > len(wire):
            raise WireError("record runs past the end")
        rtype, size, ttl, length = FIXED.unpack_from(wire, at)
        at += FIXED.size + length
        if at > len(wire):
            raise WireError("rdata runs past the end")
        if rtype != OPT:
            continue
        if edns is not None or wire[start]:
            raise WireError("second OPT, or its owner is not the root")
        high = ttl >> 24
        options = _read_options(wire[at - length : at])
        edns = Edns(size, bool(ttl & DO), ttl >> 16 & 0xFF, options)
    return edns, high, at


def _read_options(rdata: bytes) -> tuple[tuple[int, bytes], ...]:
    options: list[tuple[int, bytes]] = []
    at = 0
    while at < len(rdata):
        if at + TYPE_CLASS.size > len(rdata) or len(options) == MAX_OPTIONS:
            raise WireError("EDNS options do not fit")
        code, length = TYPE_CLASS.unpack_from(rdata, at)
        at += TYPE_CLASS.size + length
        if at > len(rdata):
            raise WireError("EDNS option runs past the end")
        options.append((code, rdata[at - length : at]))
    return tuple(options)
