"""The directory in bpffs that keeps the wall up without us: who holds it, what is in it.

    <pin dir>/            0700; flock: one daemon
      abi1/               maps by name, links by place, clsact markers as symbolic links
      new/                a wall that is being built; renamed to abi1 when it stands

A reader that finds `abi1` finds all of it. Names hold no dots: bpffs reserves them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dnsfw.datapath import bpf, mounts
from dnsfw.datapath.abi import Abi
from dnsfw.errors import DatapathError

_CURRENT = f"abi{int(Abi.VERSION)}"
_STAGING = "new"
_PRIVATE_DIR = 0o700
_PRIVATE_FILE = 0o600


class PinDir:
    """A pin directory that this process holds alone until `release`."""

    def __init__(self, path: Path) -> None:
        """Locks it, making it if needed. DatapathError names the process that has it."""
        self.path = path
        self._shown = mounts.usual(path)
        self.current = path / _CURRENT
        self.staging = path / _STAGING
        self._fd = self._take()
        while not self._is_there():  # whoever had it took it away: take the one that is there
            self.release()
            self._fd = self._take()

    def _take(self) -> int:
        fd = -1
        try:
            while fd < 0:
                self.path.mkdir(mode=_PRIVATE_DIR, exist_ok=True)
                with suppress(FileNotFoundError):  # it was removed between the two
                    fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DatapathError(
                f"cannot use {self._shown}: {error.strerror}; it must be in a BPF file system "
                "(mount -t bpf bpf /sys/fs/bpf) and needs root"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(fd, _PRIVATE_DIR)
        except BlockingIOError:
            who = _holder(fd)
            os.close(fd)
            raise DatapathError(
                f"another dnsfw{who} holds the wall in {self._shown}; remedy: `dnsfw down` with "
                "the --run-dir it was started with"
            ) from None
        return fd

    def _is_there(self) -> bool:
        """Is what we locked still what the next one would open? A directory that its last
        holder has removed can be locked all the same; two would then build in one place.
        """
        try:
            there, ours = self.path.stat(), os.fstat(self._fd)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    @property
    def adoptable(self) -> bool:
        """True if a wall of this version stands already. DatapathError for another version."""
        others = sorted(p.name for p in self.path.iterdir() if p.name.startswith("abi"))
        if [name for name in others if name != _CURRENT]:
            raise DatapathError(
                f"{self._shown} holds the wall of another dnsfw version ({', '.join(others)}, this "
                f"one speaks {_CURRENT}); remedy: `dnsfw down`, then start again"
            )
        return self.current.is_dir()

    def stage(self) -> Path:
        """An empty directory for a new wall; what a crash left in it is taken away."""
        clear(self.staging)
        self.staging.mkdir(mode=_PRIVATE_DIR)
        return self.staging

    def commit(self) -> None:
        """The staged wall becomes the one that counts, in one step."""
        self.staging.rename(self.current)

    def restore(self, objects: Mapping[str, int]) -> None:
        """Pins again what somebody unlinked. DatapathError if that cannot be."""
        try:
            self.path.mkdir(mode=_PRIVATE_DIR, exist_ok=True)
            self.current.mkdir(mode=_PRIVATE_DIR, exist_ok=True)
            for name, fd in objects.items():
                if not (self.current / name).exists():
                    pin(fd, self.current / name)
        except OSError as error:
            raise DatapathError(f"cannot pin in {self._shown}: {error.strerror}") from error

    def generations(self) -> tuple[Path, ...]:
        """Every wall in here, whatever its version."""
        return tuple(p for p in sorted(self.path.iterdir()) if p.is_dir() and not p.is_symlink())

    def destroy(self) -> None:
        """Takes the (empty) directory away; one that root prepared for a user stays."""
        with suppress(FileNotFoundError, PermissionError):
            self.path.rmdir()

    def release(self) -> None:
        """Lets go; the pins stay."""
        os.close(self._fd)


def pin(fd: int, path: Path) -> None:
    bpf.pin(fd, path)
    path.chmod(_PRIVATE_FILE)


def open_link(path: Path) -> int | None:
    """A descriptor of the link that is pinned here; None if there is none."""
    if path.is_symlink() or not path.exists():
        return None
    return bpf.obj_get(path)


def clear(directory: Path) -> None:
    """Unlinks everything in a generation and the directory itself."""
    with suppress(FileNotFoundError):
        for path in list(directory.iterdir()):
            path.unlink()
        directory.rmdir()


def _holder(fd: int) -> str:
    """` (pid N)` of the process whose lock is in the way, from /proc/locks, or nothing."""
    inode = f":{os.fstat(fd).st_ino}"
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY WRITE 123 00:2a:456 0 EOF
            if "FLOCK" in fields and "->" not in fields and fields[5].endswith(inode):
                return f" (pid {fields[4]})"
    return ""
