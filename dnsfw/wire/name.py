"""Domain names in canonical wire form: uncompressed, ASCII lower case, bytes.

Comparing, matching and hashing are done on these bytes alone, so a label that
contains a dot can never pass for two labels (RFC 4343, RFC 9267). Text exists
at the edges only, and `to_text` is the one place that makes it safe to print.
"""

from __future__ import annotations

from collections.abc import Iterator

from dnsfw.errors import WireError
from dnsfw.model import Name

__all__ = [
    "MAX_NAME",
    "ROOT",
    "from_text",
    "is_below",
    "labels",
    "ordinary",
    "parent",
    "read_name",
    "read_name_as_sent",
    "skip_name",
    "suffix_starts",
    "to_text",
]

ROOT = Name(b"\0")
MAX_NAME = 255  # RFC 1035 §2.3.4, length octets and root included
MAX_LABEL = 63  # the two high bits of a length octet say "pointer"
POINTER = 0xC0
HEADER_END = 12  # no name starts inside the header, so no pointer may lead there
# Go's resolver gives up at 10 and meets the whole Internet with it; without a cap, records
# that share a chain of pointers cost quadratic time (CVE-2024-8508).
MAX_POINTERS = 16

_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_ORDINARY = _LOWER + b"0123456789-_"
_PLAIN = frozenset(_ORDINARY + _LOWER.upper() + b"*/")
_TEXT = tuple(chr(octet) if octet in _PLAIN else f"\\{octet:03d}" for octet in range(256))


def from_text(text: str) -> Name:
    r"""The name that ASCII presentation form writes; `\.` and `\DDD` are octets of a label.

    The final dot is optional. WireError on an empty or long label, a long name,
    a broken escape, or anything outside ASCII (A-labels are the caller's business).
    """
    if not text.isascii():
        raise WireError("name is not ASCII")
    if text == ".":
        return ROOT
    wire = bytearray()
    label = bytearray()
    at = 0
    while at < len(text):
        char = text[at]
        if char == ".":
            _close_label(wire, label)
            at += 1
        elif char == "\\":
            octet, at = _escape(text, at + 1)
            label.append(octet)
        else:
            label.append(ord(char))
            at += 1
    if label or not wire:
        _close_label(wire, label)
    wire.append(0)
    if len(wire) > MAX_NAME:
        raise WireError("name is longer than 255 octets")
    return Name(bytes(wire).lower())


def _close_label(wire: bytearray, label: bytearray) -> None:
    if not label:
        raise WireError("name has an empty label")
    if len(label) > MAX_LABEL:
        raise WireError("label is longer than 63 octets")
    wire.append(len(label))
    wire += label
    label.clear()


def _escape(text: str, at: int) -> tuple[int, int]:
    digits = text[at : at + 3]
    if digits[:1].isdigit():
        if len(digits) == 3 and digits.isdigit() and int(digits) < 256:
            return int(digits), at + 3
        raise WireError("name has a broken \\DDD escape")
    if not digits:
        raise WireError("name ends in a backslash")
    return ord(digits[0]), at + 1


def to_text(name: Name) -> str:
    r"""Printable text without a final dot; the root is ".".

    Whatever is not a letter, a digit or one of `-_*/` becomes \DDD (RFC 4343 §2.1): dots,
    quotes, backslashes, control characters. What is left cannot drive a terminal or
    break out of JSON, HTML or a log line.
    """
    return ".".join("".join([_TEXT[octet] for octet in label]) for label in labels(name)) or "."


def suffix_starts(name: Name) -> Iterator[int]:
    """The offset of every label, longest suffix first; the last one is the root's."""
    at = 0
    while length := name[at]:
        yield at
        at += length + 1
    yield at


def labels(name: Name) -> tuple[bytes, ...]:
    """The labels from left to right, the root's empty one left out."""
    found = []
    at = 0
    while length := name[at]:
        found.append(name[at + 1 : (at := at + length + 1)])
    return tuple(found)


def parent(name: Name) -> Name:
    """The name without its leftmost label; the root is its own parent."""
    return Name(name[name[0] + 1 :]) if name[0] else name


def is_below(name: Name, apex: Name) -> bool:
    """Whether name is a proper descendant of apex: whole labels, and not apex itself."""
    border = len(name) - len(apex)
    return border > 0 and name.endswith(apex) and border in suffix_starts(name)


def ordinary(name: Name) -> bool:
    """Whether every label consists of letters, digits, `-` and `_` only."""
    return not any(label.translate(None, _ORDINARY) for label in labels(name))


def read_name(wire: bytes, at: int) -> tuple[Name, int]:
    """The canonical name that starts at an offset, and the offset after it.

    Raises WireError for anything RFC 9267 warns of: see `read_name_as_sent`.
    """
    name, end = read_name_as_sent(wire, at)
    return Name(name.lower()), end  # lengths are below 64, so lower() leaves them alone


def read_name_as_sent(wire: bytes, at: int) -> tuple[bytes, int]:
    """The decompressed name with the sender's case kept, and the offset after it.

    Pointers must lead strictly backwards, past the header, and be few: a loop or
    a forward pointer ends at once. Octets 0x40 and 0x80 begin no label (RFC 6891 §5).
    """
    head = b""
    start = at
    end = 0
    hops = 0
    try:
        while True:
            length = wire[at]
            if length == 0:
                break
            if length <= MAX_LABEL:
                at += length + 1
                if len(head) + at - start >= MAX_NAME:
                    raise WireError("name is longer than 255 octets")
                continue
            if length < POINTER:
                raise WireError("label type is unknown")
            target = (length & ~POINTER) << 8 | wire[at + 1]
            if not HEADER_END <= target < start:
                raise WireError("compression pointer does not lead backwards")
            if (hops := hops + 1) > MAX_POINTERS:
                raise WireError("name has too many compression pointers")
            end = end or at + 2
            head += wire[start:at]
            start = at = target
    except IndexError:
        raise WireError("name runs past the end") from None
    return head + wire[start : at + 1], end or at + 1


def skip_name(wire: bytes, at: int) -> int:
    """The offset after a name, without following its pointer. WireError at the end."""
    try:
        while length := wire[at]:
            if length > MAX_LABEL:
                if length < POINTER:
                    raise WireError("label type is unknown")
                return at + 2
            at += length + 1
    except IndexError:
        raise WireError("name runs past the end") from None
    return at + 1
