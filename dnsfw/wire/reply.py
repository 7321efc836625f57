"""Messages written: queries for upstreams, replies and errors for clients."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from dnsfw.model import Name
from dnsfw.wire import codes
from dnsfw.wire.message import (
    AA,
    AD,
    CD,
    DO,
    HEADER,
    MAX_UDP,
    OPCODE,
    QR,
    RA,
    RCODE,
    RD,
    TC,
    TYPE_CLASS,
    Asked,
    Query,
    Refuse,
)
from dnsfw.wire.name import ROOT, from_text, suffix_starts
from dnsfw.wire.record import FIXED, Record

__all__ = ["Template", "soa", "write_error", "write_query", "write_reply"]

EDE_OPTION = 15  # RFC 8914 §2
MAX_EDE_TEXT = 160  # with the longest question still below 512 octets
MAX_TTL = 0x7FFF_FFFF  # RFC 2181 §8
MAX_POINTER = 0x3FFF
_NO_RECORDS = bytes(4)
_TTL = Struct(">I")
_ID_FLAGS = Struct(">HH")
_SOA_TIMES = Struct(">IIIII")


def write_query(
    id: int,
    name: Name,
    qtype: int,
    *,
    rd: bool = True,
    cd: bool = False,
    do: bool = False,
    ad: bool = False,
    size: int = MAX_UDP,
) -> bytes:
    """A query of our own; `size` 0 leaves the OPT record out, for upstreams that choke on it.

    Nothing of the client's message is in it but the name, in lower case.
    """
    flags = (RD if rd else 0) | (CD if cd else 0) | (AD if ad else 0)
    question = name + TYPE_CLASS.pack(qtype, codes.IN)
    opt = _opt(0, do, b"", size) if size else b""
    return HEADER.pack(id, flags, 1, 0, 0, 1 if size else 0) + question + opt


def write_reply(
    query: Query,
    rcode: int,
    answers: Sequence[Record] = (),
    authority: Sequence[Record] = (),
    *,
    aa: bool = False,
    ad: bool = False,
    ede: tuple[int, str] | None = None,
    limit: int | None = None,
) -> bytes:
    """The reply to a query, truncated to nothing (TC) where it is over the limit.

    The limit is the client's over UDP unless another is given.
    """
    template = Template(query.name, rcode, answers, authority, aa=aa, ad=ad, ede=ede)
    return template.render(query, 0, limit)


def write_error(error: Refuse) -> bytes | None:
    """What the sender of a refused query hears; None is silence."""
    if error.silent:
        return None
    flags = QR | RA | error.flags & (OPCODE | RD | CD) | error.rcode & RCODE
    opt = _opt(error.rcode, error.edns.do, b"", MAX_UDP) if error.edns else b""
    counts = 1 if error.question else 0, 0, 0, 1 if opt else 0
    return HEADER.pack(error.id, flags, *counts) + error.question + opt


def soa(owner: Name, ttl: int) -> Record:
    """The SOA that lets clients cache a refusal for `ttl` seconds (RFC 2308 §5).

    Its names are below `invalid.`, where nothing resolves (RFC 6761 §6.4).
    """
    return Record(
        owner, codes.SOA, codes.IN, ttl, _SOA_NAMES + _SOA_TIMES.pack(1, 3600, 600, 86400, ttl)
    )


_SOA_NAMES = from_text("dnsfw.invalid") + from_text("nobody.invalid")


class Template:
    """A reply, written once and rendered for every client that asks the same name.

    Rendering sets id, RD, CD and the question as the client sent them, ages
    every TTL, and adds an OPT record if the query had one.
    """

    __slots__ = ("_ad", "_body", "_flags", "_opt", "_opt_do", "_records", "_ttls")

    def __init__(
        self,
        name: Name,
        rcode: int,
        answers: Sequence[Record] = (),
        authority: Sequence[Record] = (),
        *,
        aa: bool = False,
        ad: bool = False,
        ede: tuple[int, str] | None = None,
    ) -> None:
        self._flags = QR | RA | rcode & RCODE | (AA if aa else 0)
        self._ad = ad
        writer = _Writer(name)
        for record in (*answers, *authority):
            writer.add(record)
        self._body = bytes(writer.body)
        self._ttls = tuple(writer.ttls)
        self._records = TYPE_CLASS.pack(len(answers), len(authority))
        option = _ede(*ede) if ede else b""
        self._opt = _opt(rcode, False, option, MAX_UDP)
        self._opt_do = _opt(rcode, True, option, MAX_UDP)

    def render(self, query: Asked, age: int = 0, limit: int | None = None) -> bytes:
        """The reply to this query `age` seconds after the template was made."""
        flags = self._flags | query.flags & (RD | CD)
        if self._ad and (query.do or query.flags & AD):  # RFC 6840 §5.8
            flags |= AD
        question = query.question
        opt = b"" if not query.opt else self._opt_do if query.do else self._opt
        additional = b"\0\1" if opt else b"\0\0"
        body = self._body
        if limit is None:
            limit = query.limit
        if HEADER.size + len(question) + len(body) + len(opt) > limit:
            head = _ID_FLAGS.pack(query.id, flags | TC)
            return head + b"\0\1" + _NO_RECORDS + additional + question + opt
        if age and self._ttls:
            aged = bytearray(body)
            for at, ttl in self._ttls:
                _TTL.pack_into(aged, at, ttl - age if ttl > age else 0)
            body = bytes(aged)
        head = _ID_FLAGS.pack(query.id, flags)
        return head + b"\0\1" + self._records + additional + question + body + opt


class _Writer:
    """The sections after the question, names compressed against all before them."""

    def __init__(self, name: Name) -> None:
        self._base = HEADER.size + len(name) + TYPE_CLASS.size
        self._known: dict[bytes, int] = {}
        self.body = bytearray()
        self.ttls: list[tuple[int, int]] = []
        self._learn(name, HEADER.size)

    def add(self, record: Record) -> None:
        self._name(record.owner)
        ttl = min(record.ttl, MAX_TTL)
        self.ttls.append((len(self.body) + 4, ttl))
        length = len(record.rdata)
        self.body += FIXED.pack(record.rtype, record.rclass, ttl, length)
        self.body += record.rdata

    def _name(self, name: bytes) -> None:
        lower = name.lower()
        for start in suffix_starts(Name(lower)):
            known = self._known.get(lower[start:])
            if known is not None:
                self._learn(Name(lower), self._base + len(self.body), start)
                self.body += name[:start] + (0xC000 | known).to_bytes(2, "big")
                return
        self._learn(Name(lower), self._base + len(self.body))
        self.body += name

    def _learn(self, name: Name, at: int, until: int = 256) -> None:
        for start in suffix_starts(name):
            if start < until and at + start <= MAX_POINTER and name[start]:
                self._known.setdefault(name[start:], at + start)


def _opt(rcode: int, do: bool, options: bytes, size: int) -> bytes:
    ttl = (rcode >> 4) << 24 | (DO if do else 0)
    return ROOT + FIXED.pack(codes.OPT, size, ttl, len(options)) + options


def _ede(code: int, text: str) -> bytes:
    said = text.encode("utf-8")[:MAX_EDE_TEXT].decode("utf-8", "ignore").encode("utf-8")
    return TYPE_CLASS.pack(EDE_OPTION, 2 + len(said)) + code.to_bytes(2, "big") + said
