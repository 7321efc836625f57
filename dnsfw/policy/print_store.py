"""Fingerprints of lists on disk, beside the lists: a start copies what an earlier one built.

A table is found by what its lists say, its size and the key of this installation, which is made
once and lies beside it. The directory is the owner's alone.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

from dnsfw.policy.listed_prints import HOME, Builder, Damaged, Listed, PlainBuilder, build
from dnsfw.policy.lists import spelled
from dnsfw.policy.lists.spelled import Texts
from dnsfw.policy.lists.store import cache_dir, give_back, replace_file
from dnsfw.policy.lists.table import Table
from dnsfw.policy.siphash import Key

__all__ = ["PrintStore"]

_VERSION = 4  # of what lists become
_KEY_FILE = "prints.key"
_KEY_BYTES = 16
_KEPT_NAMES = 16  # lists whose names nobody has used yet
_KEPT = 4  # tables: of a policy, of the one before, of another dnsfw on this host


class PrintStore:
    """The directory of compiled lists, where their fingerprints lie too."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or cache_dir()
        self.key = self._read_key()

    def load(
        self,
        tables: Sequence[Table],
        buckets: int,
        builder: Callable[[Key, int, int], Builder] = PlainBuilder,
        home: int = HOME,
    ) -> Listed:
        """The table of these lists (`listed_prints.wanted`), built if it has to be.

        A store that cannot be written costs time, not the table. buckets.Full.
        """
        path = self._directory / f"{self._name(tables)}-{buckets}-{home}.prints"
        with contextlib.suppress(OSError, Damaged, ValueError):
            found = _mapped(path)
            if (found.key, found.buckets, found.home) == (self.key, buckets, home):
                with contextlib.suppress(OSError):
                    os.utime(path)  # so that the sweep leaves it
                return found
        made = build(tables, self.key, buckets, builder, self._texts, home)
        give_back()
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, made.pack())
            self._sweep()
            for table in tables:
                spelled.forget(self._directory, table)
        return made

    def spell(self, tables: Sequence[Table]) -> None:
        """Make it quick for the next `load`, where nothing was built of these lists yet."""
        if not tables or any(self._directory.glob(f"{self._name(tables)}-*.prints")):
            return
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for table in tables:
                spelled.keep(self._directory, table)
            self._sweep()

    def _texts(self, table: Table) -> Texts:
        found = spelled.read(self._directory, table)
        return spelled.spelled(table) if found is None else found

    def _name(self, tables: Sequence[Table]) -> str:
        found = blake2b(f"{_VERSION}\n".encode(), digest_size=16, key=_bytes(self.key))
        for table in tables:
            found.update(table.seal)
        return found.hexdigest()

    def _sweep(self) -> None:
        for ending, kept in (("prints", _KEPT), ("names", _KEPT_NAMES)):
            files = list(self._directory.glob(f"*.{ending}"))
            for path in sorted(files, key=lambda path: path.stat().st_mtime)[:-kept]:
                path.unlink(missing_ok=True)

    def _read_key(self) -> Key:
        """One that nobody else knows, the same as long as the directory is there."""
        path = self._directory / _KEY_FILE
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if len(data) == _KEY_BYTES:
                return _key(data)
        data = os.urandom(_KEY_BYTES)
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, (data,))
        return _key(data)


def _mapped(path: Path) -> Listed:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = mmap.mmap(fd, 0, mmap.MAP_PRIVATE | mmap.MAP_POPULATE, mmap.PROT_READ)
    finally:
        os.close(fd)
    return Listed.unpack(memoryview(data))


def _key(data: bytes) -> Key:
    return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")


def _bytes(key: Key) -> bytes:
    return b"".join(part.to_bytes(8, "little") for part in key)
