"""Ends what `dnsfw run` began if it dies before it could: a process that waits for that.

It holds the reading end of a pipe. A byte means that all is done. The end of the pipe
without one means that we were killed: then the command and its tree end first, and only
then the wall goes, so that no packet of theirs ever finds none.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from dnsfw.errors import DnsfwError

__all__ = ["RunGuard"]

_RELIEVED = b"."
_PR_SET_NAME = 15
_STDERR = 2
_MOST_DESCRIPTORS = 1 << 16


class RunGuard:
    """Our end."""

    def __init__(self, undo: Callable[[], object]) -> None:
        """Forks; before there are threads. `undo` runs in the other process."""
        read, self.fd = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _wait_and_undo(read, undo)
        os.close(read)

    def relieve(self) -> None:
        """All is undone already: it may go."""
        with suppress(BrokenPipeError, ChildProcessError):
            os.write(self.fd, _RELIEVED)
            os.close(self.fd)
            os.waitpid(self._pid, 0)


def _wait_and_undo(read: int, undo: Callable[[], object]) -> NoReturn:
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
            signal.signal(number, signal.SIG_IGN)
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b"dnsfw-guard", 0, 0, 0)
        _let_go(read)
        if os.read(read, 1) != _RELIEVED:
            undo()
        status = 0
    except (OSError, DnsfwError) as error:
        with suppress(OSError):
            os.write(_STDERR, f"dnsfw: `dnsfw run` died, and its wall is left: {error}\n".encode())
    finally:
        os._exit(status)


def _let_go(keep: int) -> None:
    """Whoever waits for the end of our pipes must not wait for this process."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.closerange(_STDERR + 1, keep)
    os.closerange(keep + 1, _MOST_DESCRIPTORS)
