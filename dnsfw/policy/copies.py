"""The copies on disk of what came over https: what a boot without network guards with.

A directory that is the owner's alone. The bytes lie under their own hash; beside them one file
a source (`Remote.digest`) says which bytes are its last good ones. That file is what changes,
by a rename, so that a kill or a full disk at any moment leaves the old state or the new one.
Something new is *proposed* first, tried by a reload, and then *accepted* or *dropped*.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.policy.remote import Remote
from dnsfw.values import dataclass

__all__ = ["Copies", "Copy", "state_dir"]

ENVIRONMENT = "DNSFW_STATE_DIR"
_SYSTEM = Path("/var/lib/dnsfw")
_FOLDER = "remote"
_NOW, _NEXT, _DATA, _PART = ".json", ".next", ".data", ".part"
_LONGEST = 1 << 16  # of what is written about a copy
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def state_dir() -> Path:
    """$DNSFW_STATE_DIR, what systemd gave us, /var/lib/dnsfw for root, else the user's own."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named).absolute()
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return _SYSTEM
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "dnsfw"


@dataclass(frozen=True, slots=True)
class Copy:
    """The last good content of a source. Times are seconds since 1970."""

    url: str
    sha256: str
    size: int
    names: int = 0  # rules that it made; 0 for a policy
    etag: str = ""
    modified: str = ""
    fetched: int = 0  # when these bytes came
    checked: int = 0  # when their server last said that they are the newest
    revision: int | None = None  # of the signature
    expires: int | None = None


class Copies:
    """The directory. `fresh` are digests whose proposal counts, and not what was accepted."""

    def __init__(
        self, directory: Path | None = None, fresh: frozenset[str] = frozenset()
    ) -> None:
        self.directory = directory or state_dir() / _FOLDER
        self.fresh = fresh

    # reading

    def get(self, source: Remote) -> Copy | None:
        """What is known of the copy; None where there is none. ConfigError where it is there
        and cannot be trusted.
        """
        digest = source.digest
        return self._read(digest, _NEXT if digest in self.fresh else _NOW)

    def path(self, copy: Copy) -> Path:
        """Where its bytes are."""
        return self.directory / (copy.sha256 + _DATA)

    def text(self, copy: Copy, most: int) -> str:
        """Its bytes as text, held to their hash. ConfigError, PolicyError."""
        url = copy.url
        try:
            data = self.path(copy).read_bytes()
        except OSError as error:
            raise ConfigError(f"the copy of {url}: {error.strerror}") from None
        if sha256(data).hexdigest() != copy.sha256:
            raise ConfigError(f"the copy of {url} is damaged; fetch it again")
        if len(data) > most:
            raise PolicyError(f"{url}: larger than {most >> 20} MiB")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise PolicyError(f"{url}:{line}: not UTF-8") from None

    def _read(self, digest: str, ending: str) -> Copy | None:
        path = self.directory / (digest + ending)
        try:
            with path.open("rb") as file:
                _check_owner(path, os.fstat(file.fileno()))
                copy = Copy(**json.loads(file.read(_LONGEST)))
            size = self.path(copy).stat().st_size
        except FileNotFoundError:
            return None
        except PermissionError:
            raise ConfigError(
                f"{path}: not for this user to read; $DNSFW_STATE_DIR names another directory"
            ) from None
        except (OSError, ValueError, TypeError):
            return None  # of another version, or half gone: fetched again
        return copy if size == copy.size else None

    # writing

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While one process fetches, no other does. ConfigError where it cannot be written."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"{self.directory}: {error.strerror}; $DNSFW_STATE_DIR names another directory"
            ) from None
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError("another dnsfw fetches right now; try again") from None
            for left in self.directory.glob(f"*{_NEXT}"):  # of one who was killed meanwhile
                left.unlink(missing_ok=True)
            self._sweep()
            yield
        finally:
            os.close(fd)

    def scratch(self) -> Path:
        """An empty file for a download, which nobody takes for a copy."""
        import tempfile  # with what few daemons ever need

        fd, name = tempfile.mkstemp(dir=self.directory, suffix=_PART)
        os.close(fd)
        return Path(name)

    def place(self, scratch: Path, digest: str) -> Path:
        """Put a download where its bytes belong; it is nobody's copy yet."""
        _sync(scratch)
        path = self.directory / (digest + _DATA)
        scratch.rename(path)
        return path

    def propose(self, source: Remote, copy: Copy) -> None:
        """What was placed may become the copy."""
        self._write(source.digest, _NEXT, copy)

    def accept(self, source: Remote) -> None:
        """The proposal is the copy from now on."""
        (self.directory / (source.digest + _NEXT)).rename(
            self.directory / (source.digest + _NOW)
        )
        self._sync_directory()
        self._sweep()

    def drop(self, source: Remote) -> None:
        """The proposal is none; the copy stays."""
        (self.directory / (source.digest + _NEXT)).unlink(missing_ok=True)
        self._sweep()

    def renew(self, source: Remote, copy: Copy) -> None:
        """The same bytes, and more is known of them."""
        self._write(source.digest, _NOW, copy)

    def _write(self, digest: str, ending: str, copy: Copy) -> None:
        import tempfile  # with what few daemons ever need

        fd, name = tempfile.mkstemp(dir=self.directory, suffix=_PART)
        with os.fdopen(fd, "w") as file:
            json.dump(asdict(copy), file)
            file.flush()
            os.fsync(fd)
        Path(name).rename(self.directory / (digest + ending))
        self._sync_directory()

    def _sync_directory(self) -> None:
        with contextlib.suppress(OSError):  # some file systems have no such thing
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _sweep(self) -> None:
        """Bytes that no source speaks of, and what a kill has left. Only under `alone`."""
        wanted: set[str] = set()
        for ending in (_NOW, _NEXT):
            for path in self.directory.glob(f"*{ending}"):
                with contextlib.suppress(ConfigError):
                    if (copy := self._read(path.stem, ending)) is not None:
                        wanted.add(self.path(copy).name)
        for path in [*self.directory.glob(f"*{_DATA}"), *self.directory.glob(f"*{_PART}")]:
            if path.name not in wanted:
                path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_owner(path: Path, status: os.stat_result) -> None:
    """What root enforces must have been written by root."""
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OTHERS_WRITE:
        raise ConfigError(f"{path}: others may write it; remove it and fetch again")
