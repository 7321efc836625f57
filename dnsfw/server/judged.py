"""By which policy the answers in the kernel were judged, on disk: who starts anew may keep them
only if it would judge the same.

The file names the epoch of the answers. Whatever takes them back begins another epoch, so what
stands here is never true for long after it was wrong; a crash in between only costs them.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from dnsfw.model import Addr
from dnsfw.policy.digest import digest
from dnsfw.policy.policy import Policy

__all__ = ["Judged"]

_LONGEST = 128
_SCRATCH = ".new"


class Judged:
    """Kept up to date by `look`, once a second. A disk that fails only forgets it."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "answers"
        self._noted: tuple[int, Policy, frozenset[Addr]] | None = None
        self._busy: asyncio.Future[str] | None = None
        self._removed = False

    def same(self, epoch: int, policy: Policy, own: frozenset[Addr]) -> bool:
        """Whether answers of this epoch were judged as we would. `own`: the host's addresses,
        which some answers must not hold.
        """
        try:
            with self._path.open() as file:
                written = file.read(_LONGEST)
        except (OSError, ValueError):
            return False
        return written == _line(epoch, digest(policy, own))

    def look(self, epoch: int, policy: Policy, own: frozenset[Addr]) -> None:
        """Note it, in a thread: a large policy takes a second."""
        if self._busy is not None or self._noted == (epoch, policy, own):
            return
        loop = asyncio.get_running_loop()
        self._busy = loop.run_in_executor(None, digest, policy, own)
        self._busy.add_done_callback(lambda done: self._write(epoch, policy, own, done))

    def remove(self) -> None:
        """The answers are gone; nothing is noted any more, not by a thread that is late either."""
        self._removed = True
        for path in (self._path, self._path.with_suffix(_SCRATCH)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _write(
        self, epoch: int, policy: Policy, own: frozenset[Addr], done: asyncio.Future[str]
    ) -> None:
        self._busy = None
        if self._removed or done.cancelled() or done.exception() is not None:
            return
        # It may have changed meanwhile: then the epoch has, and this line is for nobody.
        with contextlib.suppress(OSError):
            scratch = self._path.with_suffix(_SCRATCH)
            scratch.write_text(_line(epoch, done.result()))
            scratch.rename(self._path)
            self._noted = (epoch, policy, own)


def _line(epoch: int, judged: str) -> str:
    return f"{epoch} {judged}\n"
