"""Watches the command: signals go to it, its end is our end, its orphans are ours to bury."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from contextlib import suppress

from dnsfw.server.run_signals import PASSED, Signals

__all__ = ["ChildWatch", "adopt_orphans", "bury"]

_PR_SET_CHILD_SUBREAPER = 36
_JOB_STOPS = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
_SIGNALLED = 128  # and the signal's number: what shells make of it


class ChildWatch:
    """`ended` gets the exit status, as a shell would give it."""

    def __init__(self, pid: int, signals: Signals) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pid = pid
        self._signals = signals

    def hear(self) -> None:
        """The signals' descriptor is readable."""
        for heard in self._signals.read():
            if heard.number == signal.SIGCHLD:
                self._look()
            elif heard.number in PASSED and not heard.by_terminal and not self.ended.done():
                with suppress(ProcessLookupError):
                    os.kill(self._pid, heard.number)

    def _look(self) -> None:
        flags = os.WEXITED | os.WSTOPPED | os.WNOHANG
        with suppress(ChildProcessError):
            while not self.ended.done():
                if (seen := os.waitid(os.P_PID, self._pid, flags)) is None:
                    break
                if seen.si_code == os.CLD_STOPPED:
                    _stop_too(seen.si_status)
                else:
                    died = 0 if seen.si_code == os.CLD_EXITED else _SIGNALLED
                    self.ended.set_result(died + seen.si_status)
        bury(self._pid)


def adopt_orphans() -> None:
    """What the command leaves behind becomes ours, not init's: in a container there may be
    none that buries the dead.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def bury(command: int) -> None:
    """Whoever died, but the command: its status is somebody's answer."""
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    with suppress(ChildProcessError):
        while (seen := os.waitid(os.P_ALL, 0, look)) is not None and seen.si_pid != command:
            os.waitid(os.P_PID, seen.si_pid, os.WEXITED | os.WNOHANG)


def _stop_too(number: int) -> None:
    """The shell that waits for us must see its job stop. A command that somebody stopped from
    outside may be continued from outside: then we must go on answering it.
    """
    if number in _JOB_STOPS or (number == signal.SIGSTOP and _in_foreground()):
        os.kill(os.getpid(), signal.SIGSTOP)  # fg: SIGCONT comes to both


def _in_foreground() -> bool:
    for fd in (0, 1, 2):
        with suppress(OSError):
            return os.tcgetpgrp(fd) == os.getpgrp()
    return False
