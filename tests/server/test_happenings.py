"""Row 136: a flood of events is a few lines, and nobody waits for a slow reader."""

from __future__ import annotations

from dnsfw.model import SECOND, Nanos
from dnsfw.server.happenings import BURST, LINES_A_SECOND, Digest, Watcher, Watchers


class Desk:
    """A digest with its clock and its lines."""

    def __init__(self) -> None:
        self.now = Nanos(0)
        self.lines: list[str] = []
        self.digest = Digest(lambda: self.now, self.lines.append)

    def add(self, text: str) -> None:
        self.digest.add(text, lambda: text)

    def after(self, seconds: float) -> None:
        self.now = Nanos(self.now + int(seconds * SECOND))
        self.digest.flush()


def test_row_136_equal_events_are_one_line_a_window() -> None:
    desk = Desk()
    for _ in range(1000):
        desk.add("denied x")
    desk.after(1)

    assert desk.lines == ["denied x", "denied x (+999 alike)"]
    assert desk.digest.kept_back == 999


def test_different_events_are_different_lines() -> None:
    desk = Desk()
    desk.add("denied x")
    desk.add("denied y")

    assert desk.lines == ["denied x", "denied y"]


def test_the_count_goes_with_the_next_line_of_its_kind() -> None:
    desk = Desk()
    desk.add("denied x")
    desk.add("denied x")
    desk.now = Nanos(SECOND)
    desk.add("denied x")

    assert desk.lines == ["denied x", "denied x (+1 alike)"]


def test_row_136_a_flood_of_different_events_is_a_few_lines_and_a_count() -> None:
    desk = Desk()
    for number in range(50_000):
        desk.add(f"denied {number}")

    assert len(desk.lines) == BURST
    desk.after(1)
    assert len(desk.lines) <= BURST + LINES_A_SECOND
    assert "more events were not logged" in desk.lines[-1]


def test_the_text_of_what_is_not_said_is_never_built() -> None:
    desk = Desk()
    built: list[int] = []
    for _ in range(3):
        desk.digest.add("key", lambda: str(built.append(1)))

    assert len(built) == 1


def test_memory_is_bounded() -> None:
    desk = Desk()
    for number in range(10_000):
        desk.now = Nanos(desk.now + SECOND // 10)
        desk.add(str(number))

    assert len(desk.digest._alike) <= 1024


def test_a_watcher_is_woken_once_for_what_waits() -> None:
    wakes: list[int] = []
    watcher = Watcher(lambda: wakes.append(1))
    watcher.put({"n": 1})
    watcher.put({"n": 2})

    assert watcher.take() == [{"n": 1}, {"n": 2}]
    assert len(wakes) == 1


def test_row_136_a_slow_watcher_loses_events_and_is_told_how_many() -> None:
    watcher = Watcher(lambda: None)
    for number in range(3000):
        watcher.put({"n": number})
    rows = watcher.take()

    assert rows[-1] == {"kind": "missed", "count": 3000 - 2048}
    assert watcher.take() == []


def test_watchers_are_few() -> None:
    watchers = Watchers()
    got = [watchers.add(lambda: None) for _ in range(20)]

    assert sum(watcher is not None for watcher in got) == 16


def test_every_watcher_hears_and_none_after_it_left() -> None:
    watchers = Watchers()
    one, other = watchers.add(lambda: None), watchers.add(lambda: None)
    assert one is not None and other is not None
    watchers.remove(one)
    watchers.put({"n": 1})

    assert one.take() == []
    assert other.take() == [{"n": 1}]
    watchers.remove(other)
    assert not watchers
