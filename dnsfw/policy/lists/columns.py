"""What every reader of a list fills: names, what is meant, lines, and what was refused."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from enum import IntFlag
from ipaddress import ip_network

from dnsfw.policy.pattern import MAX_LABEL
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Wrong, shown
from dnsfw.policy.psl import to_ascii
from dnsfw.values import dataclass

__all__ = [
    "MAX_LINE", "MAX_TEXT", "NAME", "NOT_TREE", "TREE", "Means", "Parsed", "name_of", "prefix_of",
    "said_lines",
]  # fmt: skip

MAX_LINE = 1024  # octets: no name is longer than 255, no filter of one name much longer
MAX_TEXT = 254  # of a name with its final dot
_SHOWN = 1000  # refused lines that keep their reason; the rest are counted


class Means(IntFlag):
    """What a list says of one name; the flags of a name that stands twice are joined."""

    SELF = 1  # the name
    BELOW = 2  # everything below it
    NOT_SELF = 4  # an exception: this list says nothing of the name
    NOT_BELOW = 8
    IMPORTANT = 16  # exceptions do not count against it


TREE = Means.SELF | Means.BELOW
NOT_TREE = Means.NOT_SELF | Means.NOT_BELOW


@dataclass(slots=True)
class Parsed:
    """A list in columns: a name (lower-case ASCII, no final dot), what is meant, its line."""

    names: list[str] = field(default_factory=list)
    means: bytearray = field(default_factory=bytearray)
    lines: array[int] = field(default_factory=lambda: array("I"))
    prefixes: list[tuple[str, int]] = field(default_factory=list)
    became: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[int, str]] = field(default_factory=list)  # line, why: the first ones
    refusals: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, means: int, line: int) -> None:
        self.names.append(name)
        self.means.append(means)
        self.lines.append(line)

    def refuse(self, line: int, why: str, said: str = "") -> None:
        self.refusals[why] += 1
        if len(self.refused) < _SHOWN:
            self.refused.append((line, f"{shown(said)}: {why}" if said else why))

    def tally(self) -> None:
        """Say what the lines became, in the words of the pattern table."""
        words = {0: "nothing", 1: "exact", 2: "*.x", 3: ".x"}
        for means, count in Counter(self.means).items():
            if means & TREE:
                self.became[words[means & TREE]] += count
            if means & NOT_TREE:
                self.became["exception"] += count
        if self.prefixes:
            self.became["prefix"] += len(self.prefixes)


# One label or more, 253 octets at most: checked by length, for speed.
NAME = re.compile(rf"(?:[a-z0-9_-]{{1,{MAX_LABEL}}}\.)*[a-z0-9_-]{{1,{MAX_LABEL}}}\.?", re.I)
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.I)


def name_of(text: str) -> str | None:
    """The name in canonical text, or None where it is none."""
    if NAME.fullmatch(text) is None:
        if text.isascii():
            return None
        try:
            text = ".".join(to_ascii(label) for label in text.split("."))
        except Wrong:
            return None
        if NAME.fullmatch(text) is None:
            return None
    if len(text) > MAX_TEXT or (text[-1].isdigit() and _NUMBER.fullmatch(text)):
        return None
    return text.lower().removesuffix(".")


def prefix_of(text: str) -> str | None:
    """An address or a prefix as a policy writes it; None where it is none, host bits and all."""
    try:
        return Prefix.of(ip_network(text)).text
    except ValueError:
        return None


def said_lines(text: str, parsed: Parsed, comment: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line that says something, without its comment."""
    for number, line in enumerate(text.split("\n"), 1):
        if comment in line:
            line = line[: line.index(comment)]
        line = line.strip()
        if not line:
            continue
        if len(line) > MAX_LINE:
            parsed.refuse(number, "the line is too long")
            continue
        yield number, line
