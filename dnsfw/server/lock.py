"""One daemon a directory: a lock the kernel drops by itself when the process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dnsfw.errors import DatapathError

__all__ = ["AlreadyRunning", "Lock"]


class AlreadyRunning(DatapathError):
    """Another dnsfw holds this directory."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"dnsfw is already running here ({who} holds {directory}): "
            "use `dnsfw reload`, or `dnsfw down` first"
        )
        self.pid = pid


class Lock:
    """Held from construction to `release`. AlreadyRunning names the holder's pid."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Whoever can read a file can lock it, and then no dnsfw would start.
            os.fchmod(self._file, 0o600)
        except OSError as error:
            raise DatapathError(
                f"cannot use {directory}: {error.strerror}; run as root, or set --run-dir"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid(self._file)
            os.close(self._file)
            raise AlreadyRunning(directory, pid) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; the file stays, for removing it would let two hold two files of one name."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def _pid(file: int) -> int | None:
    text = os.pread(file, 32, 0).strip()
    return int(text) if text.isdigit() else None
