"""What an import found: the policy it made, and how each line of the old file was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import TypeVar

from dnsfw.policy.problems import Position, Problems, printable, shown
from dnsfw.policy.syntax_yaml import Document, Path
from dnsfw.values import dataclass

__all__ = ["Finding", "Imported", "Kept", "Section", "comment", "quoted"]

T = TypeVar("T")

_MOST = 10**18 - 1  # as many digits as the policy language reads
_PLAIN_WIDTH = 96  # of a comment, so that the policy reads in an ordinary window


class Kept(Enum):
    """What became of one line of the old file."""

    READ = "read"  # enforced as it was
    NOTED = "noted"  # kept for people, or enforced more strictly than it was
    LOST = "lost"  # dnsfw cannot say it: the import is refused unless --partial


@dataclass(frozen=True, slots=True)
class Finding:
    """How one key or one entry was read."""

    where: Position
    kept: Kept
    source: str  # as the old file has it
    became: str  # the line it became, or why it could not be kept

    @property
    def line(self) -> int:
        return self.where.line


@dataclass(frozen=True, slots=True)
class Imported:
    """A policy made of another tool's file."""

    format: str
    text: str  # YAML, as `dnsfw check` reads it
    findings: tuple[Finding, ...]
    revision: int | None = None  # only grows; an older one must not be put in force
    role_names: Mapping[int, str] = field(default_factory=dict)  # by the old tool's numbers

    @property
    def lost(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.kept is Kept.LOST)

    def problems(self) -> Problems:
        """What was lost, as the errors of a file that is used directly."""
        found = Problems()
        for one in self.lost:
            found.error(one.where, f"{one.source}: {one.became}")
        return found


class Section:
    """One object of the old file, its keys read by kind; mistakes go to `problems` with
    their place, what nobody asked for becomes a LOST finding.
    """

    def __init__(
        self, document: Document, path: Path, problems: Problems, findings: list[Finding]
    ) -> None:
        self.path = path
        self.problems = problems
        self.findings = findings
        self._document = document
        value = document.value
        for part in path:
            value = value[part]  # type: ignore[index]
        self._asked: set[str] = set()
        self.value: dict[str, object] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            self.wrong((), f"{shown(_short(value))} is no object", "name its keys")

    def __contains__(self, key: str) -> bool:
        return self.value.get(key) is not None

    def place(self, at: Path = ()) -> Position:
        return self._document.place((*self.path, *at))

    def wrong(self, at: Path, message: str, remedy: str = "") -> None:
        self.problems.error(self.place(at), message, remedy)

    def found(self, kept: Kept, at: Path, source: str, became: str) -> None:
        line = Finding(self.place(at), kept, printable(source), printable(became))
        self.findings.append(line)

    def number(self, key: str, most: int = _MOST) -> int | None:
        """A whole number from 0 on: nothing in these files is below."""
        found = self._kind(key, int, "a whole number")
        if found is not None and not 0 <= found <= most:
            self.wrong((key,), f"'{key}' is {found}, not 0 to {most}")
            return None
        return found

    def flag(self, key: str) -> bool | None:
        return self._kind(key, bool, "true or false")

    def text(self, key: str) -> str | None:
        return self._kind(key, str, "a text")

    def items(self, key: str) -> list[object]:
        """A list; a lone value is a list of one, nothing is an empty one."""
        self._asked.add(key)
        value = self.value.get(key)
        if value is None:
            return []
        return value if isinstance(value, list) else [value]

    def child(self, key: str) -> Section:
        """An object below; one that is missing is empty, and stands where this one does."""
        self._asked.add(key)
        if self.value.get(key) is None:
            empty = Document({}, {(): self.place()}, {})
            return Section(empty, (), self.problems, self.findings)
        return self._below(key)

    def sections(self, key: str) -> list[Section]:
        """A list of objects."""
        return [self._below(key, index) for index in range(len(self._list(key)))]

    def members(self) -> dict[str, Section]:
        """The objects of which this one is made."""
        self._asked |= set(self.value)
        return {name: self._below(name) for name in self.value}

    def note(self, key: str, why: str) -> object:
        """A key that is kept for people only."""
        self._asked.add(key)
        value = self.value.get(key)
        if value not in (None, [], {}):
            self.found(Kept.NOTED, (key,), f"{key}: {_short(value)}", why)
        return value

    def rest_is_lost(self, why: str) -> None:
        """Every key that was not asked for; one that says nothing is nothing."""
        for key, value in self.value.items():
            if key not in self._asked and value not in (None, [], {}):
                self.found(Kept.LOST, (key,), f"{key}: {_short(value)}", why)

    def _below(self, *at: str | int) -> Section:
        return Section(self._document, (*self.path, *at), self.problems, self.findings)

    def _list(self, key: str) -> list[object]:
        self._asked.add(key)
        value = self.value.get(key)
        if value is None or isinstance(value, list):
            return value or []
        self.wrong((key,), f"'{key}' is no list", "write […]")
        return []

    def _kind(self, key: str, kind: type[T], what: str) -> T | None:
        self._asked.add(key)
        value = self.value.get(key)
        if value is None:
            return None
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        self.wrong((key,), f"'{key}' is {shown(_short(value))}, not {what}")
        return None


def quoted(text: str) -> str:
    """A value as YAML reads back exactly, whatever is in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def comment(text: str, indent: str = "") -> str:
    """Comment lines of a text from the old file: nothing in it can end the comment."""
    words, lines, line = printable(text).split(" "), [], ""
    for word in words:
        if line and len(indent) + len(line) + len(word) > _PLAIN_WIDTH:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return "".join(f"{indent}# {one}\n" for one in (*lines, line))


def _short(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return f"{len(value)} {'entry' if len(value) == 1 else 'entries'}"
        case dict():
            return ", ".join(f"{key}={_short(inner)}" for key, inner in value.items())
        case _:
            return str(value)
