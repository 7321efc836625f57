"""One daemon a directory: a lock the kernel drops by itself when the process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from dnsfw.errors import DatapathError

__all__ = ["LOCK", "AlreadyRunning", "Lock"]


class AlreadyRunning(DatapathError):
    """Another dnsfw holds this directory."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"dnsfw is already running here ({who} holds {directory}): "
            "use `dnsfw reload`, or `dnsfw down` first"
        )
        self.pid = pid

LOCK = "lock"  # written once, before anything else is done


class Lock:
    """Held from construction to `release`. AlreadyRunning names the holder's pid."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / LOCK
        self._file = self._take()
        while not self._is_there():  # whoever had it took the file away: take the new one
            os.close(self._file)
            self._file = self._take()
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:  # the disk is full
            os.close(self._file)
            raise DatapathError(
                f"cannot write to {directory}: {error.strerror}; make room there, or set --run-dir"
            ) from None

    def release(self, *, remove: bool = False) -> None:
        """Let go; `remove` takes the file away, and the directory if nothing else is in it."""
        os.ftruncate(self._file, 0)
        if remove:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
                self._directory.rmdir()
        os.close(self._file)

    def _take(self) -> int:
        try:
            self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Whoever can read a file can lock it, and then no dnsfw would start.
            os.fchmod(file, 0o600)
        except OSError as error:
            raise DatapathError(
                f"cannot use {self._directory}: {error.strerror}; run as root, or set --run-dir"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid(file)
            os.close(file)
            raise AlreadyRunning(self._directory, pid) from None
        return file

    def _is_there(self) -> bool:
        """Is what we locked still what the next one would open?"""
        try:
            there, ours = self._path.stat(), os.fstat(self._file)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _pid(file: int) -> int | None:
    text = os.pread(file, 32, 0).strip()
    return int(text) if text.isdigit() else None
