"""Which name holds which address, on disk (tmpfs): what the kernel's table cannot say.

Written before each grant and read once, after a crash or a restart, so that a reload
can still judge the names behind grants that an earlier process opened. Records are
appended; a torn last one is left out. When the file has doubled it is sealed and
a thread writes what still lives to `base`; at every moment base + sealed + live
hold all there is to know, and reading them in this order lets the latest win. Of an
address `base` has as many names as the ledger has, so made-up names do not make it grow.

Losing it opens nothing: the kernel's deadlines and rules hold without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dnsfw.engine.effects import Holder
from dnsfw.engine.limits import Limits
from dnsfw.errors import WireError
from dnsfw.model import Addr, Name, Nanos, RoleId, RuleId
from dnsfw.server.clock import Now
from dnsfw.wire.name import read_name

__all__ = ["Journal", "compact", "read_journal"]

_MAGIC = b"dnsfw journal 1\n"
_RECORD = struct.Struct("<QII16sH")  # until, role, rule, addr, octets of the names that follow
_UNTIL = 8  # octets in front of what makes a record another one
_COMPACT_AT = 1 << 20  # bytes: about 20,000 answers
_NAMES = Limits().names_per_grant  # of a role, on one address, by one rule
_PLACE = slice(_UNTIL, _UNTIL + 24)  # octets that say whose, by which rule and where
_HEADER = bytes(12)  # read_name wants a message's header before its names

_Key = tuple[int, bytes, bytes, int]


class Journal:
    """Appends holders; never raises for a full or broken disk, but counts it."""

    def __init__(self, directory: Path, now: Now, boot_id: str = "") -> None:
        self.failed = 0
        self._now = now
        self._paths = _Paths(directory)
        self._boot_id = (boot_id or _boot_id()).encode()
        self._file: int | None = None
        self._size = 0
        self._compact_at = 0  # of the live file; set when it is opened
        self._compacting: asyncio.Future[int] | None = None

    def restore(self) -> list[Holder]:
        """What earlier processes of this boot wrote and is not over. Call it before `add`."""
        holders = read_journal(self._paths.all, self._boot_id, self._now())
        return list(holders.values())

    @property
    def compacting(self) -> bool:
        return self._compacting is not None

    def add(self, holders: Sequence[Holder]) -> None:
        if not holders:
            return
        pack = _RECORD.pack
        data = b"".join([
            pack(until, role, rule, addr, len(name)) + name if not chain
            else _pack((role, addr, name, rule, until, chain))
            for role, addr, name, rule, until, chain in holders
        ])
        try:
            if self._file is None:
                self._file = self._open_live()
            os.write(self._file, data)
        except OSError:  # promise 1 is about the kernel's table; a name less known is no reason
            self.failed += 1
            return
        self._size += len(data)
        if self._size >= self._compact_at and self._compacting is None:
            self._start_compacting()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def remove(self) -> None:
        """Forget everything: the wall is gone."""
        self.close()
        for path in (*self._paths.all, self._paths.scratch):
            path.unlink(missing_ok=True)

    def _open_live(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._paths.live, flags, 0o600)
        self._size = os.fstat(file).st_size
        self._compact_at = max(self._compact_at, _COMPACT_AT)
        if not self._size:
            os.write(file, _MAGIC + self._boot_id)
        return file

    def _start_compacting(self) -> None:
        if self._paths.sealed.exists():  # a crash in mid-way: base has not taken it in yet
            self._merge_in_thread()
            return
        self.close()
        try:
            self._paths.live.rename(self._paths.sealed)
        except OSError:
            self.failed += 1
            return
        self._size = 0
        self._merge_in_thread()

    def _merge_in_thread(self) -> None:
        self._compacting = asyncio.get_running_loop().run_in_executor(
            None, compact, self._paths, self._boot_id, self._now()
        )
        self._compacting.add_done_callback(self._compacted)

    def _compacted(self, done: asyncio.Future[int]) -> None:
        self._compacting = None
        if done.cancelled() or done.exception() is not None:
            self.failed += 1
            self._compact_at = self._size + _COMPACT_AT  # not again at once
        else:
            self._compact_at = max(_COMPACT_AT, done.result())


class _Paths:
    def __init__(self, directory: Path) -> None:
        self.base = directory / "holders.base"
        self.sealed = directory / "holders.sealed"
        self.live = directory / "holders"
        self.scratch = directory / "holders.new"

    @property
    def all(self) -> tuple[Path, ...]:
        """Oldest first."""
        return self.base, self.sealed, self.live


def compact(paths: _Paths, boot_id: bytes, now: Nanos) -> int:
    """Rewrite base + sealed as a new base of what still lives; its size. Runs in a thread."""
    data = _MAGIC + boot_id + b"".join(_living((paths.base, paths.sealed), boot_id, now))
    paths.scratch.write_bytes(data)
    paths.scratch.chmod(0o600)
    paths.scratch.rename(paths.base)
    paths.sealed.unlink(missing_ok=True)
    return len(data)


def _living(paths: Iterable[Path], boot_id: bytes, now: Nanos) -> Iterable[bytes]:
    """The records that are not over, the latest of equal ones, in their order. They are compared
    as they stand and not understood: it is done while others are answered, twice for each.
    """
    found: dict[bytes, bytes] = {}
    header = _MAGIC + boot_id
    for path in paths:
        data = b""
        with contextlib.suppress(OSError):
            data = path.read_bytes()
        at = len(header) if data.startswith(header) else len(data)
        while at + _RECORD.size <= len(data):
            until, *_, length = _RECORD.unpack_from(data, at)
            end = at + _RECORD.size + length
            if end > len(data):
                break  # torn
            key = data[at + _UNTIL : end]
            found.pop(key, None)  # the latest stands last
            if until > now:
                found[key] = data[at:end]
            at = end
    return _latest_of_each_place(found)


def _latest_of_each_place(found: dict[bytes, bytes]) -> list[bytes]:
    """As many as the ledger would take back: the older ones are a deadline there, no names."""
    taken: Counter[bytes] = Counter()
    kept = []
    for record in reversed(found.values()):
        taken[record[_PLACE]] += 1
        if taken[record[_PLACE]] <= _NAMES:
            kept.append(record)
    return kept[::-1]


def read_journal(paths: Iterable[Path], boot_id: bytes, now: Nanos) -> dict[_Key, Holder]:
    """The latest record of every (role, address, name, rule) that is not over."""
    found: dict[_Key, Holder] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            for holder in _unpack(path.read_bytes(), boot_id):
                key = (holder.role, holder.addr, holder.name, holder.rule)
                if holder.until > now:
                    found[key] = holder
                else:
                    found.pop(key, None)
    return found


def _pack(holder: tuple[RoleId, Addr, Name, RuleId, Nanos, tuple[Name, ...]]) -> bytes:
    role, addr, name, rule, until, chain = holder
    names = b"".join((name, *chain))
    return _RECORD.pack(until, role, rule, addr, len(names)) + names


def _unpack(data: bytes, boot_id: bytes) -> Iterator[Holder]:
    """Every whole record; nothing of another boot, whose clock means nothing now."""
    header = _MAGIC + boot_id
    if not data.startswith(header):
        return
    at = len(header)
    while at + _RECORD.size <= len(data):
        until, role, rule, addr, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size + length
        try:
            name, *chain = _names(data[at - length : at], length)
        except (WireError, ValueError):  # torn, or not ours
            return
        yield Holder(RoleId(role), Addr(addr), name, RuleId(rule), Nanos(until), tuple(chain))


def _names(data: bytes, length: int) -> list[Name]:
    if len(data) != length:
        raise WireError("the record is cut")
    names, at = [], len(_HEADER)
    while at < len(_HEADER) + length:
        name, at = read_name(_HEADER + data, at)
        names.append(name)
    return names


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
