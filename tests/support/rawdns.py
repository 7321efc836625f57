"""Messages put together octet by octet, so that they can lie wherever a test wants."""

from __future__ import annotations

from struct import pack

from dnsfw.model import Name
from dnsfw.wire.name import from_text

WWW = from_text("www.example.com")
LONGEST = b"".join(bytes([n]) + n * b"x" for n in (63, 63, 63, 61)) + b"\0"
NAME_AT_12 = b"\xc0\x0c"


def message(
    body: bytes = b"",
    *,
    flags: int = 0x8180,
    questions: int = 1,
    answers: int = 0,
    authority: int = 0,
    additional: int = 0,
    id: int = 0x1234,
) -> bytes:
    """A header with these counts, true or not, and whatever follows."""
    return pack(">HHHHHH", id, flags, questions, answers, authority, additional) + body


def question(name: bytes = WWW, qtype: int = 1, qclass: int = 1) -> bytes:
    return name + pack(">HH", qtype, qclass)


def record(
    rdata: bytes,
    *,
    owner: bytes = NAME_AT_12,
    rtype: int = 1,
    rclass: int = 1,
    ttl: int = 60,
    length: int | None = None,
) -> bytes:
    """A record whose rdlength may be another than its rdata's."""
    size = len(rdata) if length is None else length
    return owner + pack(">HHIH", rtype, rclass, ttl, size) + rdata


def opt(options: bytes = b"", *, size: int = 1232, ttl: int = 0, owner: bytes = b"\0") -> bytes:
    return record(options, owner=owner, rtype=41, rclass=size, ttl=ttl)


def query(
    name: bytes = WWW, *tail: bytes, qtype: int = 1, qclass: int = 1, flags: int = 0x100
) -> bytes:
    """A query, with these additional records."""
    body = question(name, qtype, qclass) + b"".join(tail)
    return message(body, flags=flags, additional=len(tail))


def name(text: str) -> Name:
    return from_text(text)
