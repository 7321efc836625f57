"""YAML to plain values, with the place of each one; hostile documents end in a PolicyError.

Built from parser events, not by a loader: no tag is honoured, nothing recurses, and
size, depth and aliases are counted while reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any

import yaml

from dnsfw.policy.problems import Position, Problems, shown
from dnsfw.values import dataclass

MAX_DEPTH = 32  # the language needs six
MAX_NODES = 1_000_000
MAX_ALIASES = 64
MAX_COPIED = 100_000  # nodes that aliases may stand for, together: ends a billion laughs

Path = tuple[str | int, ...]
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_CORE_TAGS = {"tag:yaml.org,2002:" + name for name in ("str", "int", "bool", "null", "seq", "map")}
_STAR = re.compile(r"""(?:^|[\s:,\[-])(\*[^\s,\]"']*)""")
_BRACKET = re.compile(r"""(?:^|[\s,-])(\[[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\][^\s,"']*)""")


@dataclass(slots=True)
class Document:
    """The plain value of a document; `places` has a position for each path in it."""

    value: object
    places: dict[Path, Position]
    key_places: dict[Path, Position]

    def keys(self, path: Path) -> set[str]:
        """The keys that are written there, those that mean nothing too."""
        value = self.value
        for part in path:
            value = value[part]  # type: ignore[index]
        return set(value) if isinstance(value, dict) else set()

    def place(self, path: Path) -> Position:
        """The position of a value, or of the nearest thing around it."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places[path]

    def key_place(self, path: Path) -> Position:
        """The position of the key itself."""
        return self.key_places.get(path) or self.place(path)


@dataclass(slots=True)
class _Open:
    """A collection that is still being read."""

    value: dict[str, object] | list[object]
    path: Path
    anchor: str | None
    key: str | None = None
    nodes: int = 1


@dataclass(slots=True)
class _Reader:
    file: str
    problems: Problems
    places: dict[Path, Position] = field(default_factory=dict)
    key_places: dict[Path, Position] = field(default_factory=dict)
    anchors: dict[str, tuple[object, int]] = field(default_factory=dict)
    stack: list[_Open] = field(default_factory=list)
    nodes: int = 0
    aliases: int = 0
    copied: int = 0
    root: object = None


class _TooMuch(Exception):
    pass


def read_document(text: str, file: str, problems: Problems) -> Document | None:
    """The document, or None when the problems say why there is none."""
    reader = _Reader(file, problems, {(): Position(file, 1, 1)})
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        problems.error(Position(file), "the text is not Unicode", "save it as UTF-8")
        return None
    try:
        for event in _events(text):
            _take(reader, event)
    except yaml.YAMLError as error:
        _explain(error, text, file, problems)
        return None
    except _TooMuch:
        return None
    return Document(reader.root, reader.places, reader.key_places)


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=_LOADER)


def _take(reader: _Reader, event: Any) -> None:
    match event:
        case yaml.DocumentStartEvent() if reader.nodes:
            _stop(reader, event, "a second document", "one policy a file: take out the '---'")
        case yaml.ScalarEvent():
            _check_tag(reader, event)
            _put(reader, event, _scalar(event))
        case yaml.SequenceStartEvent():
            _open(reader, event, [])
        case yaml.MappingStartEvent():
            _open(reader, event, {})
        case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
            closed = reader.stack.pop()
            if closed.anchor:
                reader.anchors[closed.anchor] = (closed.value, closed.nodes)
            if reader.stack:
                reader.stack[-1].nodes += closed.nodes
        case yaml.AliasEvent():
            _alias(reader, event)


def _open(reader: _Reader, event: Any, value: dict[str, object] | list[object]) -> None:
    _check_tag(reader, event)
    if len(reader.stack) >= MAX_DEPTH:
        _stop(reader, event, f"nested deeper than {MAX_DEPTH}", "")
    path = _put(reader, event, value, nodes=0)
    reader.stack.append(_Open(value, path, event.anchor))


def _put(reader: _Reader, event: Any, value: object, nodes: int = 1) -> Path:
    """Hand a value to the collection around it; a scalar in key position becomes the key."""
    reader.nodes += 1
    if reader.nodes > MAX_NODES:
        _stop(reader, event, f"more than {MAX_NODES} values", "")
    where = _position(reader, event)
    if isinstance(event, yaml.ScalarEvent) and event.anchor:
        reader.anchors[event.anchor] = (value, 1)
    if not reader.stack:
        reader.root = value
        reader.places[()] = where
        return ()
    around = reader.stack[-1]
    around.nodes += nodes
    if isinstance(around.value, list):
        path: Path = (*around.path, len(around.value))
        around.value.append(value)
        reader.places[path] = where
        return path
    if around.key is None:
        _take_key(reader, event, around, value, where)
        return around.path
    path = (*around.path, around.key)
    around.value[around.key] = value
    around.key = None
    reader.places[path] = where
    return path


def _take_key(reader: _Reader, event: Any, around: _Open, value: object, where: Position) -> None:
    if not isinstance(event, yaml.ScalarEvent):
        _stop(reader, event, "a key is a word", "")
    key = str(event.value) if not isinstance(value, str) else value
    if key == "<<":
        _stop(reader, event, "merge keys are not read", "write the values out")
    path = (*around.path, key)
    if isinstance(around.value, dict) and key in around.value:
        first = reader.key_places[path]
        reader.problems.error(
            where, f"key {shown(key)} stands twice", f"the first is in line {first.line}"
        )
    else:
        reader.key_places[path] = where
    around.key = key


def _alias(reader: _Reader, event: Any) -> None:
    reader.aliases += 1
    known = reader.anchors.get(event.anchor)
    if known is None:
        name = f"*{event.anchor}"
        _stop(reader, event, f"{shown(name)} is a YAML alias of nothing", f'quote it: "{name}"')
        return
    value, nodes = known
    reader.copied += nodes
    if reader.aliases > MAX_ALIASES or reader.copied > MAX_COPIED:
        _stop(reader, event, f"more than {MAX_ALIASES} aliases or {MAX_COPIED} copies", "")
    _put(reader, event, value, nodes)


def _check_tag(reader: _Reader, event: Any) -> None:
    if event.tag is not None and event.tag not in _CORE_TAGS and event.tag != "!":
        where = _position(reader, event)
        reader.problems.error(where, f"YAML tag {shown(event.tag)} is not read", "take it out")


def _scalar(event: Any) -> object:
    """YAML 1.2 core schema: 'on' and 'no' are words, 22:22 is no number."""
    text: str = event.value
    if not event.implicit[0]:  # quoted, or tagged
        return text
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    return int(text) if _INT.fullmatch(text) else text


def _position(reader: _Reader, event: Any) -> Position:
    mark = event.start_mark
    return Position(reader.file, mark.line + 1, mark.column + 1)


def _stop(reader: _Reader, event: Any, message: str, remedy: str) -> None:
    reader.problems.error(_position(reader, event), message, remedy)
    raise _TooMuch


def _explain(error: yaml.YAMLError, text: str, file: str, problems: Problems) -> None:
    """One line for a syntax error; the two that policies invite get their remedy."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # the reader refuses a character
        at = getattr(error, "position", 0)
        before = text[:at] if isinstance(at, int) else ""
        where = Position(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        problems.error(where, "a control character stands here", "take it out")
        return
    lines = text.splitlines() or [""]
    context = getattr(error, "context_mark", None)
    for row in dict.fromkeys([mark.line, *([context.line] if context else [])]):
        line = lines[row] if row < len(lines) else ""
        bare = line.split(" #")[0]
        for shape in (_STAR, _BRACKET):
            if found := shape.search(bare):
                where = Position(file, row + 1, found.start(1) + 1)
                value = found[1]
                problems.error(where, f"{shown(value)} is YAML, not text", f'quote it: "{value}"')
                return
    where = Position(file, mark.line + 1, mark.column + 1)
    char = lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""
    message = str(getattr(error, "problem", None) or "this is not YAML")
    if char == "\t":
        problems.error(where, "a tab cannot indent", "use blanks")
    elif "cannot start any token" in message:
        problems.error(where, f"{shown(char)} cannot begin a value", "quote the value")
    elif "mapping values" in message:
        problems.error(where, "a second colon in one line", "quote the value, or indent it")
    else:
        problems.error(where, message, "look at the indentation and the quotes above")
