"""Compiled lists on disk: made once from their source, mapped by every start and reload after.

A compiled list is found by what its source is (path, size, times, inode) without reading the
source, else by the hash of the source's bytes. The directory is the owner's alone: whoever
can write there can write policy.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import stat
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.policy.files import check_owned
from dnsfw.policy.lists.columns import Parsed
from dnsfw.policy.lists.formats import Format, read_list
from dnsfw.policy.lists.table import Damaged, Table, build
from dnsfw.values import dataclass

__all__ = ["ListSource", "Store", "cache_dir", "give_back", "replace_file"]

ENVIRONMENT = "DNSFW_CACHE_DIR"
MAX_SOURCE = 512 << 20  # bytes: ten million names
_VERSION = 2  # of what a source becomes; raised when a reader reads otherwise
_GZIP = b"\x1f\x8b"  # RFC 1952
_FIRST_REFUSED = 20  # of the lines that were refused, kept for `check`


def cache_dir() -> Path:
    """$DNSFW_CACHE_DIR, else /var/cache/dnsfw for root, else the user's own."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/dnsfw")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dnsfw"


@dataclass(frozen=True, slots=True)
class ListSource:
    """A list as the policy names it."""

    path: Path
    format: Format
    suffix: bool = False
    broad: bool = False
    called: str = ""  # by people, where its path says nothing to them

    @property
    def name(self) -> str:
        return self.called or str(self.path)

    @property
    def _key(self) -> str:
        return f"{_VERSION}\n{self.format.value}\n{self.suffix:d}{self.broad:d}\n"

    def content_key(self, data: bytes) -> str:
        return blake2b(self._key.encode() + data, digest_size=16).hexdigest()

    def place_key(self) -> str:
        """What the source is called: its index is found by it."""
        text = self._key + str(self.path.absolute())
        return blake2b(os.fsencode(text), digest_size=16).hexdigest()


class Store:
    """The directory of compiled lists."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or cache_dir()

    def load(self, source: ListSource) -> Table:
        """The list, compiled if it has to be.

        ConfigError when the source cannot be read; PolicyError when nothing in it is a rule.
        A store that cannot be written costs time, not the list.
        """
        fd = self._open(source.path)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if (table := self._by_stat(source, status)) is not None:
                table.source = str(source.path.absolute()), _identity(status)
                return table
            data = file.read(MAX_SOURCE + 1)
        if len(data) > MAX_SOURCE:
            raise ConfigError(f"{source.name}: larger than {MAX_SOURCE >> 20} MiB")
        key = source.content_key(data)
        table = self._mapped(key)
        if table is None:
            table = self._keep(key, _compiled(source, data))
            give_back()
        self._note(source, status, key)
        table.source = str(source.path.absolute()), _identity(status)
        return table

    def unchanged(self, path: Path, identity: list[int]) -> bool:
        """Whether a source is what a table was made of, and may still be read."""
        try:
            fd = self._open(path)
        except ConfigError:
            return False
        try:
            return _identity(os.fstat(fd)) == identity
        finally:
            os.close(fd)

    def _open(self, path: Path) -> int:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path}: not a regular file")
            check_owned(path, status)  # a list is as much of the policy as the file that names it
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _by_stat(self, source: ListSource, status: os.stat_result) -> Table | None:
        try:
            index = json.loads(self._index(source).read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(index, dict) or index.get("stat") != _identity(status):
            return None
        return self._mapped(str(index.get("table")))

    def _mapped(self, key: str) -> Table | None:
        with contextlib.suppress(OSError, Damaged):
            return Table.open(self.directory / f"{key}.list")
        return None

    def _keep(self, key: str, data: bytes) -> Table:
        """On disk and mapped; in memory where the disk is full or not ours."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self.directory / f"{key}.list", (data,))
            return Table.open(self.directory / f"{key}.list")
        except (OSError, Damaged):
            return Table(memoryview(data))

    def _note(self, source: ListSource, status: os.stat_result, key: str) -> None:
        """Remember which table a source became; the table it was before goes, if nobody else's."""
        index = {"stat": _identity(status), "table": key, "path": str(source.path)}
        with contextlib.suppress(OSError):
            replace_file(self._index(source), (json.dumps(index).encode(),))
            self._sweep()

    def _sweep(self) -> None:
        wanted = set()
        for path in self.directory.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                index = json.loads(path.read_bytes())
                if Path(index["path"]).exists():
                    wanted.add(f"{index['table']}.list")
                else:  # a download lies under its hash: the next one has another path
                    path.unlink()
        for path in self.directory.glob("*.list"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def _index(self, source: ListSource) -> Path:
        return self.directory / f"{source.place_key()}.json"


def _identity(status: os.stat_result) -> list[int]:
    """What changes whenever a file's bytes do: ctime cannot be set back."""
    return [
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
    ]  # fmt: skip


def _compiled(source: ListSource, data: bytes) -> bytes:
    if data.startswith(_GZIP):
        raise PolicyError(
            f"{source.name}: it is packed with gzip, which only what comes over https may be; "
            "unpack it with gunzip, and name the file that it leaves"
        )
    text = data.decode("utf-8-sig", "replace").replace("\r\n", "\n")
    parsed = read_list(text, source.format, suffix=source.suffix, broad=source.broad)
    if not parsed.names and not parsed.prefixes:
        raise PolicyError(
            f"{source.name}: no line of it is a rule of the format {source.format.value}"
            f"{_first(parsed)}; name another format, or take the list out"
        )
    return build(parsed, _meta(source, parsed))


def give_back() -> None:
    """Reading a million lines leaves 90 MB of holes that glibc would keep for ever."""
    with contextlib.suppress(AttributeError, OSError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)


def _first(parsed: Parsed) -> str:
    return f" (line {parsed.refused[0][0]}: {parsed.refused[0][1]})" if parsed.refused else ""


def _meta(source: ListSource, parsed: Parsed) -> dict[str, Any]:
    return {
        "format": source.format.value,
        # A filter's exception beats its refusals; in a response policy zone the deeper one wins.
        "exceptions_first": source.format is not Format.RPZ,
        "became": dict(parsed.became),
        "refusals": dict(parsed.refusals),
        "refused": parsed.refused[:_FIRST_REFUSED],
        "prefixes": parsed.prefixes,
    }


def replace_file(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """All of it or nothing, also when the power goes."""
    import tempfile  # with what few daemons ever need

    fd, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(fd, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(fd)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
