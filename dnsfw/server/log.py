"""Lines for the operator on stderr, written by a thread: a stuck terminal must not stop DNS.

Under systemd (JOURNAL_STREAM) each line carries its priority and no time, as the
journal wants it; on a terminal it starts with the wall-clock time.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from enum import IntEnum
from typing import Protocol

from dnsfw.server.capabilities import drop_all
from dnsfw.server.escape import safe

__all__ = ["Level", "Lines", "Log"]

_QUEUE = 1024  # lines a stuck reader may owe us; later ones are counted and lost
_GOODBYE = 1.0  # seconds the last lines have at exit
_STDERR = 2


class Level(IntEnum):
    """sd-daemon(3)."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class Lines(Protocol):
    """Who writes lines down."""

    def line(self, level: Level, text: str) -> None: ...


class Log:
    """`line` never blocks and never raises."""

    def __init__(self, file: int = _STDERR, journal: bool | None = None) -> None:
        self.lost = 0
        self._file = file
        self._journal = "JOURNAL_STREAM" in os.environ if journal is None else journal
        self._lines: queue.Queue[str | None] = queue.Queue(_QUEUE)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()
        self._ready.wait(_GOODBYE)

    def line(self, level: Level, text: str) -> None:
        """One line; whatever could steer a terminal or fake a second line is escaped."""
        lead = f"<{level:d}>" if self._journal else time.strftime("%H:%M:%S ")
        try:
            self._lines.put_nowait(f"{lead}{safe(text)}\n")
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=_GOODBYE)
        self._thread.join(_GOODBYE)

    def _write(self) -> None:
        drop_all()  # privileges belong to a thread, and this one only writes
        self._ready.set()
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError):  # the terminal is gone: nobody to tell
                os.write(self._file, line.encode())
