"""Messages written: queries for upstreams, replies and errors for clients."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from dnsfw.model import Name
from dnsfw.wire.codes import AA, AAAA, AD, CD, IN, OPCODE, QR, RA, RCODE, RD, SOA, TC, A, Rcode
from dnsfw.wire.name import from_text
from dnsfw.wire.parts import DO, HEADER, PAIR, write_opt
from dnsfw.wire.query import MAX_UDP, Asked, Peek, Query, Refuse
from dnsfw.wire.record import Record
from dnsfw.wire.sections import MAX_TTL, TTL_AT, Sections

__all__ = [
    "Parts", "Template", "soa", "write_addresses", "write_error", "write_query", "write_reply",
]  # fmt: skip

EDE_OPTION = 15  # RFC 8914 §2
MAX_EDE_TEXT = 160  # octets; with the longest question still below 512
_TTL = Struct(">I")
_POINTED = Struct(">HHHIH")  # a pointer to the owner, then as in any record
_TO_QUESTION = 0xC00C
_OPT, _OPT_DO = write_opt(0, False, MAX_UDP), write_opt(0, True, MAX_UDP)
_DO_AT = 7  # octet of an OPT record with the highest of its flags
_ECHOED = RD | CD
_PLAIN = QR | RA
_bare = object.__new__
_pack_header = HEADER.pack
# Below `invalid.` nothing resolves (RFC 6761 §6.4). Serial, refresh, retry, expire: no secondary.
_SOA_NAMES = from_text("dnsfw.invalid") + from_text("nobody.invalid")
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

    Nothing of a client's message can be in it but the name, in lower case.
    """
    flags = (RD if rd else 0) | (CD if cd else 0) | (AD if ad else 0)
    header = HEADER.pack(id, flags, 1, 0, 0, 1 if size else 0)
    opt = write_opt(0, do, size) if size else b""
    return header + name + PAIR.pack(qtype, IN) + opt


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
    """The reply to one query; where many will ask the same, keep a `Template` instead."""
    template = Template(query.name, rcode, answers, authority, aa=aa, ad=ad, ede=ede)
    return template.render(query, limit=limit)


def write_error(error: Refuse) -> bytes | None:
    """What the sender of a refused query hears; None is silence."""
    if error.silent:
        return None
    flags = QR | RA | error.flags & (OPCODE | _ECHOED) | error.rcode & RCODE
    opt = write_opt(error.rcode, error.edns.do, MAX_UDP) if error.edns else b""
    header = HEADER.pack(error.id, flags, 1 if error.question else 0, 0, 0, 1 if opt else 0)
    return header + error.question + opt


def soa(owner: Name, ttl: int) -> Record:
    """The SOA that lets clients keep a negative answer of ours for `ttl` seconds (RFC 2308 §5)."""
    return Record(owner, SOA, IN, ttl, _SOA_NAMES + _SOA_TIMES.pack(1, 3600, 600, 86_400, ttl))


class Parts(NamedTuple):
    """What a template is made of, for whoever renders it elsewhere (the kernel)."""

    flags: int  # of the header, RD and CD not among them, for who sent an OPT
    bare_flags: int  # for who did not
    ad: bool  # AD for who asks for it
    answers: int  # records
    authority: int
    body: bytes  # from the end of the question on, without OPT
    ttl_at: tuple[int, ...]  # offsets in `body`
    opt: bytes  # DO clear


class Template:
    """A reply, written once and rendered for every client that asks the same question.

    `name` is the name asked for: owners are compressed against it. An Extended DNS
    Error (RFC 8914) and the high bits of the rcode go to clients that sent an OPT.
    """

    __slots__ = ("_ad", "_bare_flags", "_body", "_counts", "_flags", "_opt", "_opt_do", "_ttls")

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
        self._body, self._ttls = _addresses(name, answers, authority) or _sections(
            name, answers, authority
        )
        self._counts = len(answers), len(authority)
        flags = QR | RA | (AA if aa else 0)
        self._flags = flags | rcode & RCODE
        # Without OPT only the low bits would go out, and say something else.
        self._bare_flags = flags | (rcode if rcode <= RCODE else Rcode.SERVFAIL)
        self._ad = AD if ad else 0
        if ede is None and rcode <= RCODE:
            self._opt, self._opt_do = _OPT, _OPT_DO
            return
        option = _ede_option(*ede) if ede else b""
        self._opt = write_opt(rcode, False, MAX_UDP, option)
        self._opt_do = write_opt(rcode, True, MAX_UDP, option)

    @classmethod
    def of_addresses(
        cls, body: bytes, count: int, ttls: tuple[tuple[int, int], ...], *, ad: bool
    ) -> Template:
        """The same of a body that is written already: `count` addresses of the name asked for,
        and where the TTL of each of them stands.
        """
        made = _bare(cls)
        made._body, made._ttls, made._counts = body, ttls, (count, 0)
        made._flags = made._bare_flags = _PLAIN
        made._ad = AD if ad else 0
        made._opt, made._opt_do = _OPT, _OPT_DO
        return made

    def render(self, query: Asked, age: int = 0, limit: int | None = None) -> bytes:
        """The reply to this query, `age` seconds after the template was made.

        Over the limit (the client's over UDP, unless another is given) it is truncated:
        TC and no records, so that nobody uses half an answer.
        """
        flags = query.flags
        question = query.question
        opt = b""
        if not query.opt:
            said = self._bare_flags | flags & _ECHOED
            if flags & AD:  # the client understands AD (RFC 6840 §5.8)
                said |= self._ad
        elif query.do:
            said = self._flags | flags & _ECHOED | self._ad
            opt = self._opt_do
        else:
            said = self._flags | flags & _ECHOED
            if flags & AD:
                said |= self._ad
            opt = self._opt
        body = self._body
        if limit is None:
            limit = query.limit
        additional = 1 if opt else 0
        if HEADER.size + len(question) + len(body) + len(opt) > limit:
            return HEADER.pack(query.id, said | TC, 1, 0, 0, additional) + question + opt
        if age > 0:
            body = self._aged(age)
        return HEADER.pack(query.id, said, 1, *self._counts, additional) + question + body + opt

    @property
    def parts(self) -> Parts:
        """The same, in parts."""
        return Parts(
            self._flags,
            self._bare_flags,
            bool(self._ad),
            *self._counts,
            self._body,
            tuple(at for at, _ in self._ttls),
            self._opt,
        )

    @classmethod
    def of(cls, parts: Parts) -> Template:
        """One that renders as the one did whose parts these are, in another process."""
        made = cls.__new__(cls)
        made._flags, made._bare_flags = parts.flags, parts.bare_flags
        made._ad = AD if parts.ad else 0
        made._counts = parts.answers, parts.authority
        made._body = body = parts.body
        made._ttls = tuple((at, *_TTL.unpack_from(body, at)) for at in parts.ttl_at)
        made._opt = opt = parts.opt
        made._opt_do = opt[:_DO_AT] + bytes((opt[_DO_AT] | DO >> 8,)) + opt[_DO_AT + 1 :]
        return made

    def _aged(self, age: int) -> bytes:
        body = bytearray(self._body)
        for at, ttl in self._ttls:
            _TTL.pack_into(body, at, ttl - age if ttl > age else 0)
        return bytes(body)


def write_addresses(query: Peek, body: bytes, count: int, *, ad: bool) -> bytes:
    """What `Template.of_addresses` renders at its birth, for an answer that is told once."""
    id_, flags, _, question, has_opt, do, limit = query
    said, opt = _PLAIN | flags & _ECHOED, b""
    if has_opt:
        opt = _OPT_DO if do else _OPT
    if ad and (flags & AD or do):
        said |= AD
    made = _pack_header(id_, said, 1, count, 0, has_opt) + question + body + opt
    if len(made) > limit:
        return _pack_header(id_, said | TC, 1, 0, 0, has_opt) + question + opt
    return made


def _addresses(
    name: Name, answers: Sequence[Record], authority: Sequence[Record]
) -> tuple[bytes, tuple[tuple[int, int], ...]] | None:
    """The body of an answer that has nothing but addresses of the name asked for, as
    `_sections` would write it; None for every other one.
    """
    if authority or len(name) == 1:
        return None
    body = b""
    ttls = []
    for owner, rtype, rclass, ttl, rdata in answers:
        if (rtype != A and rtype != AAAA) or owner != name or ttl > MAX_TTL:
            return None
        ttls.append((len(body) + 2 + TTL_AT, ttl))
        body += _POINTED.pack(_TO_QUESTION, rtype, rclass, ttl, len(rdata)) + rdata
    return body, tuple(ttls)


def _sections(
    name: Name, answers: Sequence[Record], authority: Sequence[Record]
) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """The body of a reply, and where each of its TTLs stands."""
    sections = Sections(name)
    for record in (*answers, *authority):
        sections.add(record)
    return bytes(sections.body), tuple(sections.ttls)


def _ede_option(code: int, text: str) -> bytes:
    said = text.encode()[:MAX_EDE_TEXT].decode(errors="ignore").encode()
    return PAIR.pack(EDE_OPTION, 2 + len(said)) + code.to_bytes(2, "big") + said
