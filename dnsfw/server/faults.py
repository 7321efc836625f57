"""The boundary around one packet: what a bug does with it ends here, and is counted.

The core raises nothing on a peer's bytes. Should it do so all the same, that one
packet is lost, the client hears nothing, nothing is opened, and the next packet is
served: a client that repeats its packet of death cannot take the service from the
others. Only here, in the daemon's own beat and at the edge of the process may
`Exception` be caught.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb

__all__ = ["Faults", "place_of"]

_HOME = str(Path(__file__).parents[1]) + "/"
_MAX_PLACES = 64  # in our own code: more kinds than that are one kind


class Faults:
    """Counts faults by place and tells of each place once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.count = 0
        self.last = ""
        self._tell = tell
        self._places: set[str] = set()

    def caught(self, doing: str, error: Exception) -> None:
        self.count += 1
        place = place_of(error)
        self.last = f"{doing}: {type(error).__name__} at {place}"
        if place not in self._places and len(self._places) < _MAX_PLACES:
            self._places.add(place)
            self._tell(f"fault while {self.last}: the packet was dropped; please report this")


def place_of(error: BaseException) -> str:
    """`module.py:line`: where in dnsfw, not where in a library that it called."""
    frames = extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_HOME)] or frames
    return f"{ours[-1].filename.removeprefix(_HOME)}:{ours[-1].lineno}" if ours else "?"
