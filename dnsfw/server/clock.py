"""The one clock: CLOCK_BOOTTIME, which the kernel's deadlines are written in.

It does not jump when somebody sets the date, and it goes on in suspend, so a
grant that ran out while the lid was closed is out when it opens. In a time namespace
(time_namespaces(7), Linux 5.6) ours is shifted, and the one that BPF reads is not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime_ns
from typing import TYPE_CHECKING

from dnsfw.model import SECOND, Nanos

if TYPE_CHECKING:  # ten megabytes, which a worker does without
    import asyncio

__all__ = ["Alarm", "Now", "boot_now"]

Now = Callable[[], Nanos]

# A loop's own clock (MONOTONIC) stands still in suspend: look again at least this often.
_LONGEST_SLEEP = 5.0


_INITIAL = "time:[4026531834]"  # PROC_TIME_INIT_INO of include/linux/proc_ns.h


def _ahead(proc: Path = Path("/proc/self")) -> int:
    """How many nanoseconds this time namespace's clock shows more than the kernel's own."""
    try:
        if str((proc / "ns/time").readlink()) == _INITIAL:
            return 0  # the file below is about the namespace of children
        rows = (proc / "timens_offsets").read_text().splitlines()
    except OSError:
        return 0  # a kernel without
    shown = {name: (seconds, nanos) for name, seconds, nanos in map(str.split, rows)}
    seconds, nanos = shown["boottime"]
    return int(seconds) * SECOND + int(nanos)


_AHEAD = _ahead()


def boot_now() -> Nanos:
    """Nanoseconds since boot, suspend included."""
    return Nanos(clock_gettime_ns(CLOCK_BOOTTIME) - _AHEAD)


class Alarm:
    """Calls back at the earliest deadline it was given; asking again is cheap.

    Every query moves the engine's next deadline a little, so a later deadline
    does not touch the loop's timer: it rings once too early and is set again.
    """

    __slots__ = ("_armed", "_find", "_handle", "_loop", "_now", "_ring", "_wanted")

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Now, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._now = now
        self._ring = ring
        self._find: Callable[[], Nanos | None] | None = None
        self._wanted: Nanos | None = None
        self._armed: Nanos | None = None
        self._handle: asyncio.TimerHandle | None = None

    def set(self, deadline: Nanos | None) -> None:
        """Ring at `deadline` (BOOTTIME), or never."""
        self._wanted = deadline
        if deadline is None or (self._armed is not None and self._armed <= deadline):
            return
        self._arm(deadline)

    def ask(self, find: Callable[[], Nanos | None]) -> None:
        """Set it to what `find` says once this turn of the loop is over: what moves a deadline
        comes in batches, and to find the earliest is no small part of a look-up.
        """
        if self._find is None:
            self._loop.call_soon(self._set_found)
        self._find = find

    def by(self, deadline: Nanos, find: Callable[[], Nanos | None]) -> None:
        """Ring then at the latest, where nothing else has moved: mostly it is set to ring sooner,
        for a question that has been answered meanwhile, and will look again.
        """
        if self._armed is None or self._armed > deadline:
            self.ask(find)
        elif self._wanted is None or self._wanted > deadline:
            self._wanted = deadline

    def _set_found(self) -> None:
        find, self._find = self._find, None
        if find is not None:
            self.set(find())

    def close(self) -> None:
        self._find = self._wanted = None
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self, deadline: Nanos) -> None:
        if self._handle is not None:
            self._handle.cancel()
        delay = min(max(0.0, (deadline - self._now()) / SECOND), _LONGEST_SLEEP)
        self._armed = deadline
        self._handle = self._loop.call_at(self._loop.time() + delay, self._fire)

    def _fire(self) -> None:
        self._armed = self._handle = None
        if self._wanted is None:
            return
        if self._wanted <= self._now():
            self._wanted = None
            self._ring()  # sets the next one
        else:
            self._arm(self._wanted)
