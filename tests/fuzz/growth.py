"""Whether a reader's time grows with its input or faster: a ratio, so that no machine is slow."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["STEEPEST", "TIMES", "steepness"]

_SHORT = 4 << 10  # bytes, of the input repeated
TIMES = 16  # how much longer the long one is: quadratic would be 256 times the time
STEEPEST = 4.0 * TIMES  # half way there on a logarithmic scale
_TURNS = 3
_FLOOR = 100_000  # ns: what took no time at all shows nothing


def steepness(run: Callable[[bytes], None], data: bytes) -> float:
    """How many times as long it takes for sixteen times as much of the same."""
    short = data * (-(-_SHORT // len(data)))
    return _least(run, short * TIMES) / max(_least(run, short), _FLOOR)


def _least(run: Callable[[bytes], None], data: bytes) -> int:
    """Nanoseconds of this thread: the least of a few, which no neighbour lengthened."""
    found = []
    for _ in range(_TURNS):
        start = time.thread_time_ns()
        run(data)
        found.append(time.thread_time_ns() - start)
    return min(found)
