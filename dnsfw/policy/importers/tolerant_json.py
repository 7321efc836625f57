"""JSON as people write it by hand, with the place of each value.

Read beyond RFC 8259: a comma before a closing bracket, and comments (`//`, `/* */`, `#`).
Nothing else: keys are quoted, and stand once. Nothing recurses, and size and depth are
counted while reading, so that a hostile file ends in a problem with its line.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import field
from enum import Enum, auto

from dnsfw.policy.problems import Position, Problems, shown
from dnsfw.policy.syntax_yaml import MAX_DEPTH, MAX_NODES, Document, Path
from dnsfw.values import dataclass

__all__ = ["read_json"]

_SPACE = re.compile(r"(?:[ \t\r\n\ufeff]+|//[^\n]*|#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*+"')
_WORD = re.compile(r"[A-Za-z_$'][^\s,:{}\[\]\"]*|-?[0-9][0-9A-Za-z.+-]*")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FRACTION = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,3})?")
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None}
_LONGEST_TOKEN = 1 << 16


class _Expect(Enum):
    """What may come next."""

    VALUE = auto()
    ITEM = auto()  # or the end of the list
    KEY = auto()  # or the end of the object
    COLON = auto()
    COMMA = auto()  # or the end of what is open
    END = auto()


class _Stop(Exception):
    pass


@dataclass(slots=True)
class _Open:
    value: dict[str, object] | list[object]
    path: Path
    key: str = ""


@dataclass(slots=True)
class _Reader:
    text: str
    file: str
    problems: Problems
    lines: list[int]  # where each begins
    at: int = 0
    nodes: int = 0
    root: object = None
    stack: list[_Open] = field(default_factory=list)
    places: dict[Path, Position] = field(default_factory=dict)
    key_places: dict[Path, Position] = field(default_factory=dict)
    expect: _Expect = _Expect.VALUE

    def where(self, at: int) -> Position:
        line = bisect_right(self.lines, at)
        return Position(self.file, line, at - self.lines[line - 1] + 1)

    def stop(self, message: str, remedy: str = "", at: int | None = None) -> _Stop:
        self.problems.error(self.where(self.at if at is None else at), message, remedy)
        return _Stop()


def read_json(text: str, file: str, problems: Problems) -> Document | None:
    """The document, or None when the problems say why there is none."""
    begins = [0, *(found.end() for found in re.finditer("\n", text))]
    reader = _Reader(text, file, problems, begins, places={(): Position(file, 1, 1)})
    try:
        while _step(reader):
            pass
    except _Stop:
        return None
    return Document(reader.root, reader.places, reader.key_places)


def _step(reader: _Reader) -> bool:
    """Read one token. False at the end of the text."""
    found = _SPACE.match(reader.text, reader.at)
    reader.at = found.end() if found else reader.at
    if reader.at >= len(reader.text):
        if reader.expect is not _Expect.END:
            raise reader.stop("the text ends in mid-way", "close what is open")
        return False
    char = reader.text[reader.at]
    match reader.expect, char:
        case _Expect.END, _:
            raise reader.stop(f"{shown(char)} after the end", "one object a file")
        case _Expect.COLON, ":":
            reader.at += 1
            reader.expect = _Expect.VALUE
        case _Expect.COMMA, ",":
            reader.at += 1
            reader.expect = _inside(reader)
        case (_Expect.COMMA | _Expect.ITEM, "]") | (_Expect.COMMA | _Expect.KEY, "}"):
            _close(reader, char)
        case _Expect.KEY, _:
            _key(reader, char)
        case ((_Expect.VALUE | _Expect.ITEM), _):
            _value(reader, char)
        case _:
            wanted = "':'" if reader.expect is _Expect.COLON else "',' or a closing bracket"
            raise reader.stop(f"{wanted} is missing before {shown(char)}")
    return True


def _inside(reader: _Reader) -> _Expect:
    return _Expect.KEY if isinstance(reader.stack[-1].value, dict) else _Expect.ITEM


def _close(reader: _Reader, char: str) -> None:
    if isinstance(reader.stack[-1].value, dict) != (char == "}"):
        raise reader.stop(f"{shown(char)} closes what is not open")
    reader.stack.pop()
    reader.at += 1
    reader.expect = _Expect.COMMA if reader.stack else _Expect.END


def _key(reader: _Reader, char: str) -> None:
    if char != '"':
        raise reader.stop(f"{shown(char)} begins no key", 'keys stand in double quotes: "key"')
    start, around = reader.at, reader.stack[-1]
    key = _string(reader)
    path, where = (*around.path, key), reader.where(start)
    if path in reader.key_places:
        first = reader.key_places[path].line
        raise reader.stop(f"key {shown(key)} stands twice", f"the first is in line {first}", start)
    reader.key_places[path] = where
    around.key = key
    reader.expect = _Expect.COLON


def _value(reader: _Reader, char: str) -> None:
    reader.nodes += 1
    if reader.nodes > MAX_NODES:
        raise reader.stop(f"more than {MAX_NODES} values")
    start = reader.at
    if char in "{[":
        if len(reader.stack) >= MAX_DEPTH:
            raise reader.stop(f"nested deeper than {MAX_DEPTH}")
        opened: dict[str, object] | list[object] = {} if char == "{" else []
        path = _put(reader, opened, start)
        reader.at += 1
        reader.stack.append(_Open(opened, path))
        reader.expect = _inside(reader)
        return
    _put(reader, _string(reader) if char == '"' else _word(reader, char), start)
    reader.expect = _Expect.COMMA if reader.stack else _Expect.END


def _put(reader: _Reader, value: object, start: int) -> Path:
    if not reader.stack:
        reader.root = value
        reader.places[()] = reader.where(start)
        return ()
    around = reader.stack[-1]
    if isinstance(around.value, dict):
        path: Path = (*around.path, around.key)
        around.value[around.key] = value
    else:
        path = (*around.path, len(around.value))
        around.value.append(value)
    reader.places[path] = reader.where(start)
    return path


def _string(reader: _Reader) -> str:
    found = _STRING.match(reader.text, reader.at)
    if found is None:
        raise reader.stop("a text without its end in this line", 'close it with "')
    if found.end() - found.start() > _LONGEST_TOKEN:
        raise reader.stop(f"a text longer than {_LONGEST_TOKEN} characters")
    try:
        value: str = json.loads(found[0])
        value.encode()  # half a surrogate pair is no character
    except ValueError:
        raise reader.stop(f"{shown(found[0])} is no JSON text", "look at its backslashes") from None
    reader.at = found.end()
    return value


def _word(reader: _Reader, char: str) -> object:
    found = _WORD.match(reader.text, reader.at)
    word = found[0] if found else char
    if len(word) <= _LONGEST_TOKEN and word in _WORDS:
        value = _WORDS[word]
    elif _INTEGER.fullmatch(word):
        value = int(word)
    elif _FRACTION.fullmatch(word):
        value = float(word)
    else:
        raise reader.stop(f"{shown(word)} is no JSON value", 'texts stand in double quotes: "…"')
    reader.at += len(word)
    return value
