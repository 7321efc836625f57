"""The programs of the wall that stands, if they are those that this dnsfw would load.

Verifying them takes a quarter of a second; after a crash the very programs still run. They are
pinned beside the tables, and a record outside of bpffs says which kernel objects they are: the
number and the time at which each was loaded name one object for as long as the host is up. So
nothing is taken for ours that was not loaded by us, from the object that we have now, on this
kernel, over the tables that are pinned now. Whatever does not fit is loaded anew.
"""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from dnsfw.datapath import bpf, pins
from dnsfw.datapath.backend import MAPS, PROGRAMS, Loaded, check
from dnsfw.datapath.bpf import Program
from dnsfw.datapath.syscall import AttachType, BpfError, Closing, ProgType, info
from dnsfw.errors import DatapathError

__all__ = ["RECORD", "Standing"]

RECORD = "programs"  # in the run directory
_PIN = "prog_"  # in the directory of the wall, before the name of a program
_INFO = 224  # bytes of bpf_prog_info that we know
_LOADED_AT = 40  # offset of its load_time
_LONGEST = 1 << 16
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_WRONG = (
    OSError, DatapathError, ValueError, LookupError, TypeError, AttributeError, RecursionError,
)  # fmt: skip


class Standing:
    """The record of one wall. `key` says what was loaded: see `Backend.key`."""

    def __init__(self, record: Path, key: str, without: Collection[str] = ()) -> None:
        self._record = record
        self._key = key
        self._without = frozenset(without)

    def recall(self, directory: Path) -> Loaded | None:
        """What is pinned here, if the record says that it is ours; else nothing."""
        try:
            said = _read(self._record)
            if said["key"] != self._key:
                return None
            with ExitStack() as failed:
                maps, programs = {}, {}
                for name in MAPS:
                    maps[name] = table = bpf.map_of(bpf.obj_get(directory / name))
                    failed.callback(table.close)
                    _same(said["maps"][name], bpf.object_id(table.fd))
                for name in PROGRAMS:
                    if name not in self._without:
                        fd = bpf.obj_get(directory / f"{_PIN}{name}")
                        failed.callback(os.close, fd)
                        programs[name] = _program(fd, name, said["programs"][name])
                found = check(Loaded(maps, programs, bool(said["cookie"])), self._without)
                failed.pop_all()
                return found
        except _WRONG:
            return None

    def remember(self, directory: Path, loaded: Loaded) -> None:
        """Pins the programs of the wall and notes them. Never fails: without it the next start
        takes longer.
        """
        with suppress(*_WRONG):
            self.forget()
            for name, program in loaded.programs.items():
                _pin(directory / f"{_PIN}{name}", program)
            _write(self._record, {
                "key": self._key,
                "cookie": loaded.netns_cookie,
                "maps": dict(_numbers(loaded)),
                "programs": {p.name: _identity(p.fd, p.attach_type) for p in _programs(loaded)},
            })  # fmt: skip

    def forget(self) -> None:
        """The wall is gone, or changes."""
        self._record.unlink(missing_ok=True)


def _numbers(loaded: Loaded) -> Iterator[tuple[str, int]]:
    for name in MAPS:
        yield name, bpf.object_id(loaded.maps[name].fd)


def _programs(loaded: Loaded) -> Iterator[Program]:
    yield from loaded.programs.values()


def _identity(fd: int, attach_type: AttachType | None) -> list[Any]:
    """One object of this boot, and no other; then what it is attached by."""
    raw = info(fd, _INFO)
    kind, number, tag = struct.unpack_from("=II8s", raw)
    (loaded_at,) = struct.unpack_from("=Q", raw, _LOADED_AT)
    return [number, loaded_at, tag.hex(), kind, None if attach_type is None else int(attach_type)]


def _program(fd: int, name: str, said: Any) -> Program:
    attach_type = None if said[-1] is None else AttachType(said[-1])
    _same(said, _identity(fd, attach_type))
    found = bpf.program_of(fd, name, attach_type)
    _same(found.type, ProgType(said[3]))
    return found


def _same(said: object, found: object) -> None:
    if said != found:
        raise DatapathError("what is pinned is not what was pinned")


def _pin(path: Path, program: Program) -> None:
    with suppress(BpfError), Closing(bpf.obj_get(path)) as there:
        if bpf.object_id(there) == bpf.object_id(program.fd):
            return
    path.unlink(missing_ok=True)
    pins.pin(program.fd, path)


def _read(record: Path) -> Any:
    """Only root's (or the service's own) word counts."""
    fd = os.open(record, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        status, home = os.fstat(fd), record.parent.stat()
        owners = {status.st_uid, home.st_uid}
        written = (status.st_mode | home.st_mode) & _OTHERS_WRITE
        if not stat.S_ISREG(status.st_mode) or owners != {os.geteuid()} or written:
            raise DatapathError(f"{record}: others may have written it")
        return json.loads(file.read(_LONGEST))


def _write(record: Path, said: object) -> None:
    scratch = record.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(said, file)
    scratch.rename(record)


