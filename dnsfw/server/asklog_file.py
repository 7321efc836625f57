"""The files of the log of names: appended, rotated by age, and deleted in time (row 137).

`names.jsonl` is the one that grows; when it is an eighth of the retention (or of the size) it
gets the time of its first line as its name. A file goes as soon as its first line is older
than the retention, so no line lives longer; and the oldest go where all are too large.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["LIVE", "LogFiles"]

LIVE = "names.jsonl"
_OLD = "names-*.jsonl"
_PARTS = 8  # files that the retention, and the size, are spread over
_MODE = 0o640
_DIRECTORY = 0o750
_FIRST_LINE = 1 << 16  # bytes that hold any first line


class LogFiles:
    """Used by one thread. `append` raises OSError for what the disk does not take."""

    def __init__(self, directory: Path, retention: int, size: int) -> None:
        self.directory = directory
        self._retention = retention
        self._size = size
        self._fd: int | None = None
        self._began = 0.0  # when the first line of the live file was written
        self._written = 0
        self._torn = False  # the file ends in the middle of a line

    def append(self, text: str, now: float) -> None:
        """Whole lines. What is written in part is ended by the next line's beginning."""
        if self._fd is None:
            self._open(now)
        elif self._is_full(now):
            self._rotate()
            self._open(now)
        assert self._fd is not None
        data = (("\n" if self._torn else "") + text).encode()
        written = os.write(self._fd, data)
        self._written += written
        self._torn = written < len(data)
        if self._torn:
            raise OSError(0, "the disk took a part of a line")

    def prune(self, now: float) -> None:
        """Delete what is too old, and what is too much. Never raises."""
        if self._fd is not None and self._is_full(now):
            with suppress(OSError):
                self._rotate()
        if self._fd is None:
            self._prune_live(now)
        kept: list[tuple[float, int, Path]] = []
        for path in self._old():
            with suppress(OSError):
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode):
                    continue
                began = _time_of(path)
                if now - (status.st_mtime if began is None else began) >= self._retention:
                    path.unlink()
                else:
                    kept.append((began or status.st_mtime, status.st_size, path))
        total = self._written + sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= self._size:
                break
            with suppress(OSError):
                path.unlink()
                total -= size

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _old(self) -> list[Path]:
        try:
            return list(self.directory.glob(_OLD))
        except OSError:
            return []

    def _prune_live(self, now: float) -> None:
        """What an earlier process left and nobody goes on writing."""
        path = self.directory / LIVE
        with suppress(OSError):
            began = _time_of(path)
            if began is not None and now - began >= self._retention:
                path.unlink()

    def _is_full(self, now: float) -> bool:
        # A clock that was set back must not keep a file for ever.
        old = not 0 <= now - self._began < self._retention / _PARTS
        return self._written > 0 and (old or self._written >= self._size / _PARTS)

    def _open(self, now: float) -> None:
        self.directory.mkdir(_DIRECTORY, parents=True, exist_ok=True)
        path = self.directory / LIVE
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(path, flags, _MODE)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(0, "is no regular file", str(path))
            self._written = status.st_size
            self._torn = bool(status.st_size) and os.pread(fd, 1, status.st_size - 1) != b"\n"
            began = _time_of(path) if status.st_size else now
            self._began = status.st_mtime if began is None else began
        except OSError:
            os.close(fd)
            raise
        self._fd = fd
        if self._is_full(now):
            self._rotate()
            self._open(now)

    def _rotate(self) -> None:
        """The live file gets its name; two of one second get different ones."""
        self.close()
        for number in range(1000):
            tail = f"-{number}" if number else ""
            to = self.directory / f"names-{int(self._began)}{tail}.jsonl"
            if not to.exists():
                (self.directory / LIVE).rename(to)
                break
        self._written = 0


def _time_of(path: Path) -> float | None:
    """When the first line was written; None for a file that does not say."""
    try:
        with path.open("rb") as file:
            row = json.loads(file.readline(_FIRST_LINE))
        at = row["at"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return float(at) if isinstance(at, int | float) else None
