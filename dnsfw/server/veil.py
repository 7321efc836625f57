"""Names and addresses as keyed hashes: equal ones look equal, and without the key nobody can
try the names of the world one by one (row 137).

The key belongs to this installation, is made when it is first needed, and lies beside what it
veils, readable for the owner alone. Whoever hands the log on leaves it behind; whoever deletes
it has made every old line unreadable for good.
"""

from __future__ import annotations

import os
import secrets
from hashlib import blake2b
from pathlib import Path

__all__ = ["CLEAR", "HASHED", "Veil", "is_veiled", "read_key"]

HASHED = "h:"  # what no name and no address begins with
_KEY = "log.key"
_KEY_BYTES = 32
_DIGEST = 10  # bytes: a collision among a billion names is one in a million


class Veil:
    """Without a key it shows everything as it is."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def __bool__(self) -> bool:
        return self._key is not None

    def name(self, text: str) -> str:
        return self._veiled("n", text)

    def address(self, text: str) -> str:
        return self._veiled("a", text)

    def _veiled(self, kind: str, text: str) -> str:
        if self._key is None or not text:
            return text
        made = blake2b(f"{kind}{text}".encode(), key=self._key, digest_size=_DIGEST)
        return HASHED + made.hexdigest()


CLEAR = Veil(None)


def is_veiled(text: str) -> bool:
    """Whether this stands for a name or an address that nobody can read."""
    return text.startswith(HASHED)


def read_key(directory: Path) -> bytes:
    """The installation's key, made if there is none. OSError where it can be neither read nor
    written, or is not the owner's alone: then nothing may be logged, rather than in clear.
    """
    path = directory / _KEY
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    scratch = path.with_suffix(f".{os.getpid()}")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, secrets.token_bytes(_KEY_BYTES))
        os.fsync(fd)
        os.link(scratch, path)  # of two that make one at once the first wins
    except FileExistsError:
        pass
    finally:
        os.close(fd)
        scratch.unlink()
    return _read(path)


def _read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_mode & 0o077 or status.st_uid != os.geteuid():
            raise PermissionError(0, "the key is not the owner's alone", str(path))
        key = os.read(fd, _KEY_BYTES + 1)
    finally:
        os.close(fd)
    if len(key) != _KEY_BYTES:
        raise OSError(0, "the key is damaged; delete it to begin anew", str(path))
    return key
