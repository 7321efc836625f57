"""Tells when a cgroup appears or goes in one of some directories: inotify(7), no polling.

The cgroup file system tells of directories that user space makes and removes, and of
nothing that the kernel does by itself: all that is needed here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dnsfw.errors import DatapathError

_IN_MOVED_TO, _IN_CREATE, _IN_DELETE, _IN_ONLYDIR = 0x80, 0x100, 0x200, 0x01000000
_IN_IGNORED = 0x8000  # the directory itself is gone
_WATCHED = _IN_CREATE | _IN_DELETE | _IN_MOVED_TO | _IN_ONLYDIR
_EVENT = struct.Struct("=iIII")
_READ_BYTES = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


class Arrivals:
    """Readable when something was made or removed in one of the watched directories."""

    def __init__(self) -> None:
        self._fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _refused("watch cgroups")
        self._watches: dict[Path, int] = {}

    def fileno(self) -> int:
        return self._fd

    def watch(self, places: Iterable[Path]) -> bool:
        """Watch these and no others; True if one is new: look again, it may have changed
        just before. A directory that is gone is left out.
        """
        wanted = set(places)
        for place in self._watches.keys() - wanted:
            _libc.inotify_rm_watch(self._fd, self._watches.pop(place))
        new = False
        for place in wanted - self._watches.keys():
            number = _libc.inotify_add_watch(self._fd, os.fsencode(place), _WATCHED)
            if number >= 0:
                self._watches[place] = number
                new = True
            elif ctypes.get_errno() not in {errno.ENOENT, errno.ENOTDIR}:
                raise _refused(f"watch {place}")
        return new

    def drain(self) -> bool:
        """True if anything happened since the last call."""
        happened = False
        with suppress(BlockingIOError):
            while data := os.read(self._fd, _READ_BYTES):
                happened = True
                self._forget_gone(data)
        return happened

    def close(self) -> None:
        os.close(self._fd)

    def _forget_gone(self, data: bytes) -> None:
        """A directory that was removed lost its watch: one of that name is a new one."""
        at = 0
        while at + _EVENT.size <= len(data):
            number, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            if mask & _IN_IGNORED:
                gone = [place for place, watch in self._watches.items() if watch == number]
                for place in gone:
                    del self._watches[place]


def _refused(what: str) -> DatapathError:
    number = ctypes.get_errno()
    remedy = "; remedy: raise fs.inotify.max_user_watches" if number == errno.ENOSPC else ""
    return DatapathError(f"cannot {what}: {os.strerror(number)}{remedy}")
