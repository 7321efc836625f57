"""Name patterns: what a policy may write, and its wire form."""

from __future__ import annotations

import re
from enum import Enum

from dnsfw.model import Name
from dnsfw.policy.problems import Wrong, shown
from dnsfw.policy.psl import anybody_registers_below, fold_dots, to_ascii
from dnsfw.values import dataclass
from dnsfw.wire.name import MAX_NAME, ROOT, from_text

MAX_LABEL = 63  # octets, RFC 1035 section 2.3.4
_LABEL = re.compile(r"[a-z0-9_-]+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Kind(Enum):
    """How a pattern reads; the value is how it is written before its suffix."""

    EXACT = ""
    GLOB = "*-"  # one label below the suffix, with literal characters of its own
    ONE = "+."
    BELOW = "*."
    TREE = "."


@dataclass(frozen=True, slots=True)
class Pattern:
    """`suffix` is the literal part in wire form (the whole name when EXACT); for GLOB the
    label is `head`, at least one octet, `tail`. `text` is canonical: ASCII, lower case.
    """

    kind: Kind
    suffix: Name
    text: str
    head: bytes = b""
    tail: bytes = b""

    @property
    def broad(self) -> bool:
        """Whether strangers can register names that match."""
        if self.kind is Kind.EXACT:
            return False
        suffix = self.text[len(self.kind.value) :] if self.kind is not Kind.GLOB else self._rest
        return anybody_registers_below(suffix if self.suffix != ROOT else "")

    @property
    def _rest(self) -> str:
        return self.text.partition(".")[2]

    @property
    def literal(self) -> int:
        """The literal characters of a glob: the more, the more specific."""
        return len(self.head) + len(self.tail)

    def globs(self, label: bytes) -> bool:
        """Whether a label fits the glob: at least one octet stands for the star."""
        return (
            len(label) > self.literal and label.startswith(self.head) and label.endswith(self.tail)
        )


def parse_pattern(written: str) -> Pattern:
    """The pattern that a policy writes without ports. Raises Wrong with a rewrite."""
    text = fold_dots(written).removesuffix(".") if written != "." else written
    if text in ("", ".", "+", "+.") or written == "*.":
        raise Wrong(f"{shown(written)} names nothing", "write a name: 'example.com'")
    if text == "*":
        return Pattern(Kind.BELOW, ROOT, "*")
    if text.count("*"):
        return _starred(text)
    for kind in (Kind.ONE, Kind.TREE):
        if text.startswith(kind.value):
            rest = text[len(kind.value) :]
            ascii_rest = _ascii(rest, written)
            return Pattern(kind, from_text(ascii_rest), kind.value + ascii_rest)
    ascii_text = _ascii(text, written)
    return Pattern(Kind.EXACT, from_text(ascii_text), ascii_text)


def _starred(text: str) -> Pattern:
    first, _, rest = text.partition(".")
    if "*" in rest or text.count("*") > 1:
        raise Wrong(*_many_stars(text, rest))
    if first == "*":
        ascii_rest = _ascii(rest, text)
        return Pattern(Kind.BELOW, from_text(ascii_rest), f"*.{ascii_rest}")
    if first.startswith("*") and first[1] not in "-_":
        raise Wrong(
            f"{shown(text)} would match 'evil{text[1:]}' too",
            f"write '.{text[1:]}' (it and all below) or '*.{text[1:]}' (all below)",
        )
    if not first.isascii():
        raise Wrong(f"{shown(text)}: a glob is ASCII only", "a U-label has no part to glob")
    head, _, tail = first.lower().partition("*")
    for part in (head, tail):
        if part:
            _checked(part, text)
    if len(head) + len(tail) >= MAX_LABEL:
        raise Wrong(f"{shown(text)}: the label is longer than {MAX_LABEL} octets")
    ascii_rest = _ascii(rest, text) if rest else "."
    dotted = f".{ascii_rest}" if rest else ""
    return Pattern(
        Kind.GLOB, from_text(ascii_rest), f"{head}*{tail}{dotted}", head.encode(), tail.encode()
    )


def _many_stars(text: str, rest: str) -> tuple[str, str]:
    literal = rest.rpartition("*")[2].lstrip(".")
    hint = f"write '*.{literal}' (one label or more)" if "." in literal else "write '*.example.com'"
    if "**" in text:
        return (f"{shown(text)}: '**' is not needed", hint)
    if text.count("*") == 1:
        return (f"{shown(text)}: a star stands in the leftmost label only", hint)
    return (f"{shown(text)}: one star, in the leftmost label", hint)


def _ascii(text: str, written: str) -> str:
    """Dotted ASCII labels in lower case, each one checked."""
    labels = [_checked(to_ascii(label).lower(), written) for label in text.split(".")]
    if _NUMBER.fullmatch(labels[-1]):
        raise Wrong(
            f"{shown(written)} looks like an address and is none",
            "write four decimal numbers: 192.0.2.1",
        )
    if sum(len(label) + 1 for label in labels) + 1 > MAX_NAME:
        raise Wrong(f"{shown(written)} is longer than {MAX_NAME} octets")
    return ".".join(labels)


def _checked(label: str, written: str) -> str:
    if not label:
        raise Wrong(f"{shown(written)} has an empty label", "take out the extra dot")
    if len(label) > MAX_LABEL:
        raise Wrong(f"{shown(written)}: a label is longer than {MAX_LABEL} octets")
    if not _LABEL.fullmatch(label):
        odd = next(c for c in label if not _LABEL.fullmatch(c))
        hint = "'+' stands alone in front: '+.x.com'" if odd == "+" else ""
        raise Wrong(f"{shown(written)}: {shown(odd)} cannot stand in a name", hint)
    return label
