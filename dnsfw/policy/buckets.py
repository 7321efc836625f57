"""The table of fingerprints, over memory that is the kernel's own: suffix.h's and the builder's
twin.

A bucket is a cache line of eight slots. A fingerprint lies in one of two buckets; the second is
found from the first and the fingerprint, and the first from the second likewise, so that a slot
can move without its name. An empty slot is 0 and stands behind the taken ones. Of the last two
slots the last is the greater one where somebody found no room and lies in his second bucket: else
the first bucket says all.
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
        slot = mark[0] & ~_CLASS | klass
        if at is not None:
            self._slots[at] = slot
            return False
        first, second = self._pair(mark)
        if self._free(first) is not None:
            self._take(first, slot)
        elif self._free(second) is not None:
            self._take(second, slot)
            self._order(first, went_on=True)
        elif self._move(first, _DEEPEST):
            self._take(first, slot, went_on=True)
        elif self._move(second, _DEEPEST):
            self._take(second, slot, went_on=True)
            self._order(first, went_on=True)
        else:
            raise Full
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
        first, second = self._pair(mark)
        found = self._among(first, print_)
        last = first * SLOTS + SLOTS - 1
        if found is not None or self._slots[last] <= self._slots[last - 1]:
            return found
        return self._among(second, print_)

    def _among(self, bucket: int, print_: int) -> int | None:
        at = bucket * SLOTS
        for slot in self._slots[at : at + SLOTS].tolist():
            if slot & ~_CLASS == print_ and slot:
                return at
            at += 1
        return None

    def _free(self, bucket: int) -> int | None:
        at = bucket * SLOTS
        here: list[int] = self._slots[at : at + SLOTS].tolist()
        return at + here.index(0) if 0 in here else None

    def _take(self, bucket: int, slot: int, *, went_on: bool = False) -> None:
        """The bucket has room; `went_on`: it had none before."""
        free = self._free(bucket)
        assert free is not None
        self._slots[free] = slot
        if free % SLOTS == SLOTS - 1:
            self._order(bucket, went_on=went_on)

    def _order(self, bucket: int, *, went_on: bool) -> None:
        """Whether somebody found no room in this full bucket."""
        last = bucket * SLOTS + SLOTS - 1
        one, two = self._slots[last - 1], self._slots[last]
        if (two > one) != went_on:
            self._slots[last - 1], self._slots[last] = two, one

    def _move(self, bucket: int, depth: int) -> bool:
        """Make room in a full bucket, for one: one of its slots goes to its other bucket."""
        if not depth:
            return False
        start = bucket * SLOTS
        for deep in (False, True):
            for at in range(start, start + SLOTS):
                slot = self._slots[at]
                other = self._other(bucket, slot)
                if other == bucket:
                    continue
                full = self._free(other) is None
                if full and not (deep and self._move(other, depth - 1)):
                    continue
                if self._slots[at] != slot:  # that went in a circle
                    raise Full
                self._take(other, slot, went_on=full)
                last = start + SLOTS - 1
                self._slots[at], self._slots[last] = self._slots[last], 0
                return True
        return False
