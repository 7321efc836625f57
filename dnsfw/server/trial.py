"""`up --try 60s`: what was put up comes down by itself, unless somebody still can say keep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from dnsfw.server.guardian import Guardian

__all__ = ["Trial"]


class Trial:
    """Runs from `start` until it is confirmed or the time is over."""

    def __init__(self, seconds: float | None, undo: Callable[[], None], run_dir: Path) -> None:
        self._seconds = seconds
        self._undo = undo
        self._run_dir = run_dir
        self._guardian: Guardian | None = None
        self._confirmed = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def unconfirmed(self) -> bool:
        """Is this a trial, and has nobody said keep? Also before its time runs."""
        return self._seconds is not None and not self._confirmed

    def guard(self) -> None:
        """Before the wall goes up: from here on it comes down even if this process dies."""
        if self.unconfirmed:
            self._guardian = Guardian(self._run_dir)

    def relieve(self) -> None:
        """Nobody needs to wait for this process any more."""
        guardian, self._guardian = self._guardian, None
        if guardian is not None:
            guardian.relieve()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """The time runs."""
        if self._seconds is not None:
            self._loop = loop
            self._timer = loop.call_later(self._seconds, self._undo)

    @property
    def left(self) -> float | None:
        """Seconds until it undoes itself; None when there is no trial (any more)."""
        if self._timer is None or self._loop is None:
            return None
        return max(0.0, self._timer.when() - self._loop.time())

    def confirm(self) -> bool:
        """Keep it. False when there was nothing to confirm."""
        timer, self._timer = self._timer, None
        if timer is None:
            return False
        timer.cancel()
        self._confirmed = True
        self.relieve()
        return True
