"""The event loop: uvloop where it is installed, asyncio where it is not."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

__all__ = ["answers_first", "calm_collector", "loop_name", "only_young", "raise_file_limit", "run"]

_DESCRIPTORS = 16384  # every ask and every TCP client is one, and systemd starts with 1024
# A full collection looks at every object while nobody is answered: 0.65 s with 60,000 grants.
# Reference counts free what dnsfw drops, for it makes no circles; those of libraries are
# mostly young. So the young are looked at, everything once 20 million objects have stayed. Few
# at one time: of ten rounds at once (70,000 objects were seen) each answer waited for 34 ms.
_COLLECT = (1_000, 1, 10_000)
_YOUNG = (2_000, 1_000, 1_000)
# After each system call the loop waits for the thread that computes meanwhile (a policy that is
# read, a difference): 5 ms as Python starts, so that thirty calls held up answers for 150.
_HAND_OVER = 0.0005  # seconds


def _factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.new_event_loop
    return new_event_loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on the fastest loop this host has."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        return runner.run(main)


def loop_name(loop: asyncio.AbstractEventLoop) -> str:
    """Which implementation runs, for `status`."""
    return type(loop).__module__.partition(".")[0]


def raise_file_limit() -> None:
    """As many descriptors as the sockets may need, or as we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _DESCRIPTORS:
        return
    if hard != resource.RLIM_INFINITY and hard < _DESCRIPTORS:
        try:  # the tables alone take more than `ulimit -n 64` gives; CAP_SYS_RESOURCE may
            resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
        except (OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, hard))


def calm_collector() -> None:
    """Keep the garbage collector's pauses at a few milliseconds. For a process that serves."""
    gc.freeze()  # what a start made stays: nobody need look at it again, nor now
    gc.set_threshold(*_COLLECT)


def only_young() -> None:
    """For a start, until `calm_collector`: nearly all that it makes stays, and to look at it
    again and again takes a tenth of its time. What was made just now may be a circle.
    """
    gc.set_threshold(*_YOUNG)


def answers_first() -> None:
    """A thread that computes hands over to the loop at once. For a process that serves."""
    sys.setswitchinterval(_HAND_OVER)
