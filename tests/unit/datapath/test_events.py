"""The ring buffer's layout, read from a file that looks like one."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.events import Events

SIZE = 4096
PAGE = mmap.PAGESIZE
BUSY, DISCARD = 1 << 31, 1 << 30


class Ring:
    """The kernel's side of a ring; the file holds the data once more after the first copy."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * SIZE)
        self.end = 0

    def add(self, body: bytes, flags: int = 0) -> int:
        record = struct.pack("II", len(body) | flags, 0) + body
        record += bytes(-len(record) % 8)
        at = self.end
        for i, octet in enumerate(record):
            for copy in (0, SIZE):
                os.pwrite(self.fd, bytes([octet]), 2 * PAGE + copy + (at + i) % SIZE)
        self.end += len(record)
        os.pwrite(self.fd, struct.pack("Q", self.end), PAGE)
        return at

    def finish(self, at: int, length: int) -> None:
        for copy in (0, SIZE):
            os.pwrite(self.fd, struct.pack("I", length), 2 * PAGE + copy + at % SIZE)

    @property
    def given_back(self) -> int:
        return int(struct.unpack("Q", os.pread(self.fd, 8, 0))[0])


@pytest.fixture
def ring() -> Iterator[Ring]:
    made = Ring()
    yield made
    os.close(made.fd)


@pytest.fixture
def events(ring: Ring) -> Iterator[Events]:
    reader = Events(ring.fd, SIZE)
    yield reader
    reader.close()


def event(port: int) -> abi.Event:
    return abi.Event(1, 0, 1, 0, 42, 0, bytes(16), port, 0, 6, 0, 15, 1, b"curl".ljust(16, b"\0"))


def test_events_come_in_order_and_are_given_back(ring: Ring, events: Events) -> None:
    for port in (1, 2, 3):
        ring.add(event(port).pack())

    assert list(events.read()) == [event(1), event(2), event(3)]
    assert ring.given_back == ring.end
    assert list(events.read()) == []


def test_an_event_that_wraps_around_the_end_is_read_whole(ring: Ring, events: Events) -> None:
    count = SIZE // (abi.Event.SIZE + 8) + 3
    seen = []
    for port in range(count):
        ring.add(event(port).pack())
        seen += list(events.read())

    assert [e.port for e in seen] == list(range(count))


def test_a_record_that_is_still_written_is_waited_for(ring: Ring, events: Events) -> None:
    at = ring.add(event(1).pack(), BUSY)
    ring.add(event(2).pack())
    assert list(events.read()) == []

    ring.finish(at, abi.Event.SIZE)

    assert [e.port for e in events.read()] == [1, 2]


def test_a_discarded_record_is_skipped(ring: Ring, events: Events) -> None:
    ring.add(event(1).pack(), DISCARD)
    ring.add(event(2).pack())

    assert [e.port for e in events.read()] == [2]
    assert ring.given_back == ring.end


def test_a_record_of_another_size_is_skipped(ring: Ring, events: Events) -> None:
    ring.add(b"short")
    ring.add(event(2).pack())

    assert [e.port for e in events.read()] == [2]


def test_a_flood_is_read_in_batches(ring: Ring, events: Events) -> None:
    for port in range(5):
        ring.add(event(port).pack())

    assert [e.port for e in events.read(limit=2)] == [0, 1]
    assert [e.port for e in events.read()] == [2, 3, 4]


def test_the_descriptor_is_the_maps_own(ring: Ring, events: Events) -> None:
    assert events.fileno() == ring.fd
