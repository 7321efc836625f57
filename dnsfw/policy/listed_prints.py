"""The names of a policy's lists as fingerprints: built once, kept on disk, copied by each start.

Which lists a name stands in, and as what, is its class. What a class means to a role is no part
of this: a policy may change without its lists, and the lists of two roles lie in it once.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from struct import Struct
from typing import Protocol

from dnsfw.model import abi
from dnsfw.policy.buckets import SLOTS, UNIT, Buckets, buckets_for
from dnsfw.policy.lists.spelled import Buffer, Texts, spelled
from dnsfw.policy.lists.table import Table
from dnsfw.policy.siphash import Key, begin, end, more
from dnsfw.values import dataclass

__all__ = [
    "APART", "FIRST_CLASS", "HOME", "PASS", "STOP", "Builder", "Damaged", "Listed", "Member",
    "PlainBuilder", "build", "empty", "spill", "wanted",
]  # fmt: skip

STOP = 1  # the class of suffixes at and below which Python decides, for every role
PASS = 2  # ... where nothing deeper says more
FIRST_CLASS = 3
MAX_CLASS = (1 << abi.Suffix.CLASS_BITS) - 1
# Where a name lies: where its last labels do, so that its suffixes share a line of memory; or
# by itself, for lists of which too many names have these in common.
HOME, APART = int(abi.Suffix.HOME), int(abi.Suffix.LABELS)

_MAGIC = b"dnsfwsp1"
_HEAD = Struct("<8sII")  # magic, bytes of what is said, CRC-32 of the rest

Member = tuple[int, int]  # number of a list, what it means by the name (columns.Means)
Join = Callable[[int], int]  # the class of a name that was in this one and is in one more list


class Damaged(Exception):
    """Not a table of this version."""


class Builder(Protocol):
    """Fills slots: the kernel's compiled one (`datapath.suffix_build`), or a plain one."""

    @property
    def slots(self) -> memoryview: ...

    def add(self, text: Buffer, join: Join) -> int:
        """Names of one list (`lists.spelled`); how many are new. buckets.Full."""

    def close(self) -> None:
        """Its slots stay."""


class PlainBuilder:
    """In Python: a hundred times as long."""

    def __init__(self, key: Key, buckets: int, home: int = HOME) -> None:
        self.slots = memoryview(bytearray(UNIT * buckets)).cast("Q")
        self._buckets = Buckets(self.slots, buckets)
        self._root = begin(key)
        self._home = home

    def close(self) -> None:
        """See `Builder`."""

    def add(self, text: Buffer, join: Join) -> int:
        """See `Builder`."""
        before: list[str] = []
        states = [self._root]  # of the suffixes of the name before: most share some
        new = 0
        for name in bytes(text).decode().split("\n.")[1:]:
            parts = name.split(".")[::-1]
            same = 0
            while same < min(len(parts), len(before)) and parts[same] == before[same]:
                same += 1
            del states[same + 1 :]
            for part in parts[same:]:
                label = part.encode()
                states.append(more(states[-1], bytes((len(label),)) + label))
            before = parts
            print_, _ = end(states[-1])
            _, place = end(states[min(len(parts), self._home)])
            mark = print_, place
            new += self._buckets.put(mark, join(self._buckets.find(mark)))
        return new


def spill(table: memoryview, mark: tuple[int, int], join: Join) -> None:
    """Put a new suffix into a whole table, head and all, where its buckets have no room."""
    with table[UNIT:] as body, body.cast("Q") as slots:
        Buckets(slots, len(slots) // SLOTS).put(mark, join(0))


class _Classes:
    """Numbers for every set of lists that some name stands in."""

    def __init__(self) -> None:
        self.members: list[tuple[Member, ...]] = [()] * FIRST_CLASS
        self._ids: dict[tuple[Member, ...], int] = {}

    def joined(self, member: Member, old: int) -> int:
        """Past the last number Python decides."""
        if old == STOP:
            return STOP
        if member in self.members[old]:
            return old
        members = (*self.members[old], member)
        if members not in self._ids:
            if len(self.members) > MAX_CLASS:
                return STOP
            self._ids[members] = len(self.members)
            self.members.append(members)
        return self._ids[members]


@dataclass(frozen=True, slots=True)
class Listed:
    """The table of some lists, by their order in `wanted`."""

    key: Key
    buckets: int
    entries: int
    classes: tuple[tuple[Member, ...], ...]
    slots: memoryview  # 64-bit words
    home: int = HOME

    def find(self, mark: tuple[int, int]) -> int:
        """The class of a suffix; 0: no list has it."""
        return Buckets(self.slots, self.buckets).find(mark)

    def pack(self) -> Iterator[bytes | memoryview]:
        """The parts of its file."""
        said = json.dumps(
            {"key": self.key, "buckets": self.buckets, "entries": self.entries,
             "classes": self.classes, "home": self.home}
        ).encode()  # fmt: skip
        said += b" " * (-(len(said) + _HEAD.size) % UNIT)
        body = self.slots.cast("B")
        yield _HEAD.pack(_MAGIC, len(said), zlib.crc32(body, zlib.crc32(said)))
        yield said
        yield body

    @classmethod
    def unpack(cls, data: memoryview) -> Listed:
        """Over the bytes of a file. Damaged."""
        if len(data) < _HEAD.size:
            raise Damaged
        magic, length, sum_ = _HEAD.unpack_from(data)
        rest = data[_HEAD.size :]
        if magic != _MAGIC or len(rest) < length or zlib.crc32(rest) != sum_:
            raise Damaged
        said = json.loads(bytes(rest[:length]))
        low, high = said["key"]
        classes = tuple(
            tuple((number, means) for number, means in members) for members in said["classes"]
        )
        slots = rest[length:].cast("Q")
        return cls((low, high), said["buckets"], said["entries"], classes, slots, said["home"])


def wanted(tables: Iterable[Table]) -> tuple[Table, ...]:
    """Each of these lists once, in the order in which they are numbered."""
    return tuple(table for _, table in sorted({table.seal: table for table in tables}.items()))


def empty(key: Key, entries: int) -> Listed:
    """The table of no list, with room for so many entries of rules."""
    count = buckets_for(entries)
    slots = memoryview(bytes(UNIT * count)).cast("Q")
    return Listed(key, count, 0, ((),) * FIRST_CLASS, slots, APART)


def build(
    tables: Sequence[Table],
    key: Key,
    buckets: int,
    builder: Callable[[Key, int, int], Builder],
    texts: Callable[[Table], Texts] = spelled,
    home: int = HOME,
) -> Listed:
    """The table of these lists, as `wanted` has them. buckets.Full."""
    made = builder(key, buckets, home)
    try:
        classes = _Classes()
        entries = 0
        for number, table in enumerate(tables):
            for means, text in texts(table):
                join = partial(classes.joined, (number, means))
                entries += made.add(text, join) if means else 0
        return Listed(key, buckets, entries, tuple(classes.members), made.slots, home)
    finally:
        made.close()
