"""A list as one file that is mapped, not read: a million names in 20 MB that every process
and every reload shares, found in two microseconds.

The names are the keys of a LOUDS trie (marisa), written backwards with a final dot, so that
every suffix of a name is a prefix of its key. Beside it lie, by key number, what is meant and
the line it stands in. All is little-endian and checked when it is opened: a file that was cut
or changed is made again from its source, never believed.
"""

from __future__ import annotations

import json
import mmap
import os
from array import array
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

import marisa_trie  # type: ignore[import-not-found]

from dnsfw.model import Name
from dnsfw.policy.lists.columns import Means, Parsed

__all__ = ["Damaged", "Hit", "Table", "build"]

_MAGIC = b"dnsfwls1"
_HEAD = Struct("<8sIIQQ")  # magic, count, bytes of meta with padding, nothing, bytes of the trie
_SEAL = 16  # bytes
_BODY = _HEAD.size + _SEAL
_ALIGN = 16
_DOT = 0x2E
# Plain numbers: an enum's own `&` costs more than the look-up.
_SELF, _BELOW, _IMPORTANT = int(Means.SELF), int(Means.BELOW), int(Means.IMPORTANT)
_NOT_SELF, _NOT_BELOW = int(Means.NOT_SELF), int(Means.NOT_BELOW)


class Damaged(Exception):
    """Not a compiled list of this version."""


class Hit(NamedTuple):
    """The entry of a list that speaks for a name."""

    suffix: Name  # the name it was written for
    means: int
    line: int


_hit = tuple.__new__  # what a named tuple's own does, without the call in between


def build(parsed: Parsed, meta: Mapping[str, Any]) -> bytes:
    """The file of a list. `meta` is kept as it is, JSON values only."""
    keys = [("." + name)[::-1] for name in parsed.names]
    # One trie, not the usual three: half as large again, but found and built in two thirds of
    # the time.
    trie = marisa_trie.Trie(keys, num_tries=1)
    ids = list(map(trie.key_id, keys))
    lines = array("I", bytes(4 * len(trie)))
    for at, line in zip(reversed(ids), reversed(parsed.lines), strict=True):
        lines[at] = line  # of a name that stands twice the first
    means = _joined(ids, parsed.means, len(trie))
    body = trie.tobytes()
    text = json.dumps(dict(meta), separators=(",", ":")).encode()
    text += b" " * (-(len(text) + _BODY) % _ALIGN)
    numbers = lines.tobytes()
    flags = bytes(means) + bytes(-len(means) % _ALIGN)
    numbers += bytes(-len(numbers) % _ALIGN)
    rest = text + body + bytes(-len(body) % _ALIGN) + flags + numbers
    head = _HEAD.pack(_MAGIC, len(trie), len(text), 0, len(body))
    return bytes(head + _seal(head, memoryview(rest)) + rest)


def _seal(head: bytes | memoryview, rest: memoryview) -> bytes:
    found = blake2b(head, digest_size=_SEAL)
    found.update(rest)
    return found.digest()


def _joined(ids: list[int], means: bytearray, count: int) -> bytearray:
    """The flags by key number."""
    if len(set(means)) <= 1:  # what most lists are
        return bytearray(means[:1] * count)
    joined = bytearray(count)
    for at, meant in zip(ids, means, strict=True):
        joined[at] |= meant
    return joined


class Table:
    """A compiled list, ready to be asked. Closing is left to the last reference."""

    def __init__(self, data: memoryview) -> None:
        """Over the bytes of `build`. Damaged where they are not."""
        if len(data) < _BODY:
            raise Damaged("cut")
        magic, count, meta, _, size = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            raise Damaged("not a compiled list of this version")
        if _seal(data[: _HEAD.size], data[_BODY:]) != data[_HEAD.size : _BODY]:
            raise Damaged("changed")
        self.seal = bytes(data[_HEAD.size : _BODY])  # of all that it says
        self.path: Path | None = None  # where its bytes are, if they are in a file
        self.source: tuple[str, list[int]] | None = None  # which file it was made of, and its stat
        at = _BODY
        self.meta: dict[str, Any] = json.loads(bytes(data[at : at + meta]))
        at += meta
        self._trie = marisa_trie.Trie()
        self._trie.map(data[at : at + size])
        at += size + -size % _ALIGN
        self._means = data[at : at + count]
        at += count + -count % _ALIGN
        self._lines = data[at : at + 4 * count].cast("I")
        self._prefixes = self._trie.iter_prefixes_with_ids
        self.prefixes: list[tuple[str, int]] = [(t, n) for t, n in self.meta.get("prefixes", ())]
        self.exceptions_first = bool(self.meta.get("exceptions_first"))

    @classmethod
    def open(cls, path: Path) -> Table:
        """Map a file of `build`. OSError or Damaged."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if size < _BODY:
                raise Damaged("cut")
            memory = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
            found = cls(memoryview(memory))
            # The seal was all of it; what is asked for comes back from the page cache.
            memory.madvise(mmap.MADV_DONTNEED)
            found.path = path
            return found
        finally:
            os.close(fd)

    def __len__(self) -> int:
        return len(self._trie)

    def find(self, name: Name) -> Hit | None:
        """The deepest entry that speaks for a name in wire form; None where the list is silent."""
        key = _key(name)
        whole = -1 if key is None else len(key)
        found = [*self._prefixes(_key_below(name) if key is None else key)]
        if not found:
            return None
        means_of = self._means
        if len(found) == 1:  # as nearly always
            ((prefix, best),) = found
            means, length = means_of[best], len(prefix)
            said, unsaid = (_SELF, _NOT_SELF) if length == whole else (_BELOW, _NOT_BELOW)
            if not means & said or (means & unsaid and not means & _IMPORTANT):
                return None
            return _hit(Hit, (name[-length - 1 :], means, self._lines[best]))
        best = -1
        length = silent = important = 0
        for prefix, at in found:  # shallow first
            means, here = means_of[at], len(prefix)
            if means & (_SELF if here == whole else _BELOW):
                best, length = at, here
                important |= means & _IMPORTANT
                if not self.exceptions_first:
                    silent = 0
            if means & (_NOT_SELF if here == whole else _NOT_BELOW):
                silent = 1
        if best < 0 or (silent and not important):
            return None
        suffix = Name(name[len(name) - length - 1 :])
        return Hit(suffix, means_of[best], self._lines[best])

    def names(self) -> Iterator[tuple[str, Means, int]]:
        """Every name with what is meant and its line, in no order that matters."""
        for key, at in self._trie.items():
            yield key[-2::-1], Means(self._means[at]), self._lines[at]

    def by_means(self) -> Iterator[tuple[int, list[str]]]:
        """Every name as it lies here: backwards, with a final dot; apart by what is meant."""
        kinds = set(bytes(self._means))
        if len(kinds) <= 1:  # what most lists are
            yield from ((means, self._trie.keys()) for means in kinds)
            return
        apart: dict[int, list[str]] = {means: [] for means in sorted(kinds)}
        for key, at in self._trie.items():
            apart[self._means[at]].append(key)
        yield from apart.items()

    def means(self, name: str) -> Means:
        """What stands for exactly this name (text, no final dot)."""
        at = self._trie.get(("." + name)[::-1])
        return Means(0) if at is None else Means(self._means[at])


def _key(name: Name) -> str | None:
    """`\\3www\\1x\\0` as `x.www.` backwards; None for a label that contains a dot."""
    text = bytearray(name)
    at = 0
    while length := text[at]:
        text[at] = _DOT
        at += length + 1
    # A length of 46 looks like a dot too: only then look twice.
    if _DOT in name and text.count(_DOT) != _labels(name):
        return None
    del text[-1]
    text.reverse()
    return text.decode("latin-1")


def _key_below(name: Name) -> str:
    """What lies to the right of every label that contains a dot: no entry is such a name, but
    it may lie below one.
    """
    rest = name
    while (key := _key(rest)) is None:
        rest = Name(rest[rest[0] + 1 :])
    return key


def _labels(name: Name) -> int:
    count = at = 0
    while length := name[at]:
        count += 1
        at += length + 1
    return count
