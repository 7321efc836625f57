"""The kernel's events as values: a reader of the ring buffer with nothing but mmap.

Layout, see the kernel's Documentation/bpf/ringbuf.rst: one page with the consumer's
position (ours to write), one with the producer's, then the data twice in a row, so
that a record that wraps around reads in one piece.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from struct import Struct
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from dnsfw.datapath import abi

# Native forms: these are copied as one word. The little-endian forms go octet by octet, and
# the kernel would see a position half written.
_HEADER = Struct("II")
_POSITION = Struct("Q")
_BUSY = 1 << 31  # the kernel still writes this record
_DISCARD = 1 << 30
_LENGTH = _DISCARD - 1
_ALIGN = 8
BATCH = 1024  # events a call at most, so that a flood does not starve the loop


class Record(Protocol):
    """What lies in a ring: one kind of them in each."""

    SIZE: ClassVar[int]

    @classmethod
    def unpack(cls, data: bytes) -> Self: ...


R = TypeVar("R", bound=Record)


class Ring(Generic[R]):
    """Reads records as they come. `fileno()` becomes readable when there are some."""

    def __init__(self, map_fd: int, size: int, record: type[R]) -> None:
        """`map_fd` stays the caller's; `size` is the map's number of bytes."""
        page = mmap.PAGESIZE
        self._fd = map_fd
        self._record = record
        self._mask = size - 1
        self._ours = mmap.mmap(map_fd, page)
        self._theirs = mmap.mmap(
            map_fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
        )

    def fileno(self) -> int:
        return self._fd

    def read(self, limit: int = BATCH) -> Iterator[R]:
        """What is there now, the oldest first, at most `limit` of them."""
        (at,) = _POSITION.unpack_from(self._ours)
        for _ in range(limit):
            (end,) = _POSITION.unpack_from(self._theirs)
            if at >= end:
                return
            start = mmap.PAGESIZE + (at & self._mask)
            length, _ = _HEADER.unpack_from(self._theirs, start)
            if length & _BUSY:
                return
            size = length & _LENGTH
            at += (_HEADER.size + size + _ALIGN - 1) & -_ALIGN
            event = None
            if not length & _DISCARD and size >= self._record.SIZE:
                first = start + _HEADER.size
                event = self._record.unpack(self._theirs[first : first + self._record.SIZE])
            # Given back only now: the bytes are copied.
            _POSITION.pack_into(self._ours, 0, at)
            if event is not None:
                yield event

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


class Events(Ring[abi.Event]):
    """Denials as they happen. A full ring loses events, never verdicts; the kernel counts what
    it could not send in `Counter.sampled_out`.
    """

    def __init__(self, map_fd: int, size: int = abi.Limit.EVENTS_BYTES) -> None:
        super().__init__(map_fd, size, abi.Event)


class AskedEvents(Ring[abi.AskedEvent]):
    """Names that the kernel refused by itself: a few a second of however many there were."""

    def __init__(self, map_fd: int, size: int = abi.Suffix.RING_BYTES) -> None:
        super().__init__(map_fd, size, abi.AskedEvent)
