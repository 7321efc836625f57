"""The table of fingerprints, over memory that is the kernel's own: suffix.h's and the builder's
twin.

A bucket is a cache line of eight slots. A fingerprint lies in one of two buckets; the second is
found from the first and the fingerprint, and the first from the second likewise, so that a slot
can move without its name. An empty slot is 0 and stands behind the taken ones. Nobody is in his
second bucket while there is room in his first: a first one with room says all.
"""

from __future__ import annotations

from dnsfw.model import abi

__all__ = ["SLOTS", "UNIT", "Buckets", "Full", "buckets_for"]

SLOTS = int(abi.Suffix.SLOTS)
UNIT = abi.Bucket.SIZE
_CLASS = (1 << abi.Suffix.CLASS_BITS) - 1
_LOW = 0xFFFF_FFFF
_FULL_AT = 0.7  # beyond it two full buckets are no longer rare
_STEP = 1.15  # sizes grow by it, so that a list that grows a little keeps its size
_DEEPEST = 4  # slots that move for one that has no room: at this load one does


class Full(Exception):
    """There is no room: a larger table is wanted."""


def buckets_for(entries: int) -> int:
    """How many buckets so many entries want."""
    count = 8
    while count * SLOTS * _FULL_AT < entries:
        count = int(count * _STEP) + 1
    return count


class Buckets:
    """`slots` are 64-bit words, eight times `count`."""

    __slots__ = ("_slots", "count")

    def __init__(self, slots: memoryview, count: int) -> None:
        self._slots = slots
        self.count = count

    def find(self, mark: tuple[int, int]) -> int:
        """The class of a suffix, by `siphash.end`; 0: it is not there."""
        at = self._where(mark)
        return 0 if at is None else self._slots[at] & _CLASS

    def put(self, mark: tuple[int, int], klass: int) -> bool:
        """Give a suffix its class; whether it is new. Full."""
        at = self._where(mark)
        print_ = mark[0] & ~_CLASS
        if at is not None:
            self._slots[at] = print_ | klass
            return False
        first, second = self._pair(mark)
        one, two = self._free(first), self._free(second)
        if one is None and two is None:
            if not self._move(first, _DEEPEST) and not self._move(second, _DEEPEST):
                raise Full
            one, two = self._free(first), self._free(second)
        free = two if one is None else one
        assert free is not None
        self._slots[free] = print_ | klass
        return True

    def _pair(self, mark: tuple[int, int]) -> tuple[int, int]:
        print_, place = mark
        first = (place & _LOW) * self.count >> 32
        return first, self._other(first, print_)

    def _other(self, bucket: int, print_: int) -> int:
        step = (print_ >> 32) * self.count >> 32
        return (step - bucket) % self.count

    def _where(self, mark: tuple[int, int]) -> int | None:
        print_ = mark[0] & ~_CLASS
        for bucket in self._pair(mark):
            at = bucket * SLOTS
            for slot in self._slots[at : at + SLOTS].tolist():
                if not slot:
                    return None
                if slot & ~_CLASS == print_:
                    return at
                at += 1
        return None

    def _free(self, bucket: int) -> int | None:
        at = bucket * SLOTS
        here: list[int] = self._slots[at : at + SLOTS].tolist()
        return at + here.index(0) if 0 in here else None

    def _move(self, bucket: int, depth: int) -> bool:
        """Make room in a full bucket: one of its slots goes to its other bucket."""
        if not depth:
            return False
        start = bucket * SLOTS
        others = [self._other(bucket, self._slots[at]) for at in range(start, start + SLOTS)]
        for deep in (False, True):
            for at, other in enumerate(others, start):
                if other == bucket:
                    continue
                if (free := self._free(other)) is None and deep and self._move(other, depth - 1):
                    free = self._free(other)
                if free is None:
                    continue
                self._slots[free] = self._slots[at]
                last = start + SLOTS - 1
                self._slots[at], self._slots[last] = self._slots[last], 0
                return True
        return False
