"""Queries from clients, read strictly: what is malformed or not for us gets its error here.

`peek` is the hot path for the query everyone sends; `read_query` judges every
other one, and refuses with all that `reply.write_error` needs.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from struct import Struct
from typing import NamedTuple, Protocol

from dnsfw.errors import WireError
from dnsfw.model import Name
from dnsfw.wire.codes import AAAA, AD, ANY, CD, HTTPS, IN, NXNAME, OPCODE, OPT, QR, RD, TC, A, Rcode
from dnsfw.wire.name import MAX_LABEL, MAX_NAME
from dnsfw.wire.parts import DO, HEADER, PAIR, Edns, read_additional, read_question

__all__ = [
    "MAX_UDP",
    "MIN_UDP",
    "Asked",
    "Peek",
    "Query",
    "Refuse",
    "peek",
    "read_query",
    "whole",
]

MIN_UDP = 512  # what every client takes (RFC 1035 §4.2.1)
MAX_UDP = 1232  # never fragments on a 1280-octet path (RFC 9715)

_NAME_AT = HEADER.size
_OPT_RECORD = Struct(">BHHBBHH")  # root, type, size, rcode's high bits, version, flags, length
# OPT is no question; 128-255 are questions about no one type: transfers, mail, keys (RFC 6895
# §3.1). ANY alone is left to the engine, which answers it as RFC 8482 says.
_NO_QUESTION = frozenset({0, OPT, *range(128, 256)})
_ID_SIZE = 2
_CLASS = IN.to_bytes(2, "big")
_USUAL = frozenset(PAIR.pack(kind, IN) for kind in (A, AAAA, HTTPS))
# What follows the id of a plain query, and what it says: the flags, whether an OPT record comes.
_HEADS = {
    HEADER.pack(0, rd | ad | cd, 1, 0, 0, more)[_ID_SIZE:]: (rd | ad | cd, more)
    for rd, ad, cd, more in product((0, RD), (0, AD), (0, CD), (0, 1))
}
_new = tuple.__new__  # of a named tuple, without the call in between


class Asked(Protocol):
    """What a reply needs to know of its query: `Query` and `Peek` both have it."""

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
    limit: int  # octets that a reply over UDP may have

    @property
    def cd(self) -> bool:
        return bool(self.flags & CD)


class Query(NamedTuple):
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
        return max(MIN_UDP, min(self.edns.size, MAX_UDP)) if self.edns else MIN_UDP

    @property
    def key(self) -> bytes:
        """The same bytes as `Peek.key`."""
        return self.name + self.question[-PAIR.size :]


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
    head = _HEADS.get(wire[_ID_SIZE:_NAME_AT])
    if head is None:
        return None
    flags, opt = head
    at = _NAME_AT
    try:
        while length := wire[at]:
            if length > MAX_LABEL:
                return None
            at += length + 1
    except IndexError:
        return None
    at += 1
    end = at + PAIR.size
    kind, tail = wire[at:end], wire[end:]
    if at > _NAME_AT + MAX_NAME or not (kind in _USUAL or _is_asked(kind)):
        return None
    id_ = wire[0] << 8 | wire[1]
    # Only the name is folded: type 65 would else become type 97.
    key, question = wire[_NAME_AT:at].lower() + kind, wire[_NAME_AT:end]
    if not opt:
        return None if tail else _new(Peek, (id_, flags, key, question, False, False, MIN_UDP))
    said = _plain_opt(tail) if len(tail) == _OPT_RECORD.size else None
    return said and _new(Peek, (id_, flags, key, question, True, *said))


def _is_asked(kind: bytes) -> bool:
    """Whether these octets are a type that may be asked for, and class IN."""
    return (
        len(kind) == PAIR.size
        and kind.endswith(_CLASS)
        and int.from_bytes(kind[:2], "big") not in _NO_QUESTION
    )


@lru_cache(maxsize=256)  # each client sends the same ones again and again
def _plain_opt(tail: bytes) -> tuple[bool, int] | None:
    """DO, and the size that the sender takes, of an OPT record without options. Of its size."""
    root, rtype, size, high, version, bits, length = _OPT_RECORD.unpack(tail)
    if root or rtype != OPT or high or version or length or bits & ~DO:
        return None
    return bits == DO, MIN_UDP if size < MIN_UDP else size if size < MAX_UDP else MAX_UDP


def whole(peeked: Peek) -> Query:
    """What `read_query` makes of a plain query, except that a size is one we would honour."""
    name, qtype = Name(peeked.key[: -PAIR.size]), peeked.key[-PAIR.size :]
    edns = Edns(peeked.limit, peeked.do) if peeked.opt else None
    kind = int.from_bytes(qtype[:2], "big")
    return Query(peeked.id, peeked.flags, name, kind, IN, peeked.question, edns)


def read_query(wire: bytes) -> Query:
    """The query in these bytes; Refuse (a WireError) says what its sender hears instead."""
    if len(wire) < HEADER.size:
        raise Refuse("shorter than a header", silent=True)
    id_, flags, questions, answers, authority, additional = HEADER.unpack_from(wire)
    if flags & QR:  # to answer answers is how loops begin
        raise Refuse("not a query", silent=True, id=id_, flags=flags)

    def refuse(
        why: str, rcode: Rcode = Rcode.FORMERR, question: bytes = b"", edns: Edns | None = None
    ) -> Refuse:
        return Refuse(why, rcode, id=id_, flags=flags, question=question, edns=edns)

    if flags & OPCODE:  # before the counts, which mean other things in an UPDATE
        raise refuse("opcode is not QUERY", Rcode.NOTIMP)
    if questions != 1:  # RFC 9619; none at all is for cookies, which dnsfw does not give
        raise refuse("not exactly one question")
    try:
        name, qtype, qclass, end = read_question(wire)
    except WireError as error:
        raise refuse(str(error)) from None
    question = wire[_NAME_AT:end]
    if answers or authority or flags & TC:
        raise refuse("a query with answers, or truncated", question=question)
    try:
        edns, _, end = read_additional(wire, end, additional)
    except WireError as error:
        raise refuse(str(error), question=question) from None
    if end != len(wire):
        raise refuse("octets after the message", question=question)
    if edns and edns.version:
        raise refuse("EDNS version is not 0", Rcode.BADVERS, question, edns)
    if qtype == NXNAME:  # RFC 9824 §3.4
        raise refuse("NXNAME is no question", Rcode.FORMERR, question, edns)
    if qclass != IN or (qtype in _NO_QUESTION and qtype != ANY):
        raise refuse("class or type is not served", Rcode.REFUSED, question, edns)
    return Query(id_, flags, name, qtype, qclass, question, edns)
