"""A start that takes over from a daemon that has ended goes before others on the processor.

While nobody answers new names every client waits, so the start has priority over them until it
has all it needs: a quarter of a second of CPU. Never longer, never for a first start (whose
verification takes seconds in the kernel, and nobody is cut off), and never where the operator
has chosen a priority. A --try keeps a guardian beside it, which must not inherit it.

Nothing that takes time is imported here: it is done first.
"""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ["hurry", "relax"]

_FIRST = -10  # ten times the weight of the others
_TRACE = "programs"  # in the run directory; the record of a wall that stands (datapath.standing)
_hurried = False


def hurry(run_dir: str | os.PathLike[str]) -> bool:
    """Go first, if a wall stands without a daemon; without the right to it, as before."""
    global _hurried
    if not os.path.exists(os.path.join(run_dir, _TRACE)):  # noqa: PTH110, PTH118
        return False
    with suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, 0) == 0:
            os.setpriority(os.PRIO_PROCESS, 0, _FIRST)
            _hurried = True
    return _hurried


def relax() -> None:
    """No more, nor any thread that was started meanwhile."""
    global _hurried
    if _hurried:
        _hurried = False
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - numbers, not paths
            with suppress(OSError):  # it has ended
                os.setpriority(os.PRIO_PROCESS, int(thread), 0)
