"""What a thread that writes to a disk takes from its queue: much at once, and when to end."""

from __future__ import annotations

import queue
import time
from contextlib import suppress
from typing import Any

__all__ = ["BATCH", "gather"]

BATCH = 512  # at most in one write
_GATHER = 0.05  # seconds: one write for what comes in them, and few switches of threads


def gather(source: queue.Queue[Any], idle: float) -> tuple[list[Any], bool]:
    """Up to `BATCH` things, none if nothing came for `idle` seconds; and whether to go on.

    None in the queue is its end: what came before it is the last.
    """
    batch: list[Any] = []
    with suppress(queue.Empty):
        item = source.get(timeout=idle)
        time.sleep(_GATHER)
        while item is not None:
            batch.append(item)
            if len(batch) >= BATCH:
                return batch, True
            item = source.get_nowait()
        return batch, False
    return batch, True
