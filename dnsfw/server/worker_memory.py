"""Pages that a daemon and its workers share: which replies still count, and who is busy.

    daemon   epoch += 1 │ fence │ is the worker in a batch? then wait until it is out of it
    worker   busy = 1   │       │ is the epoch the one of my copies? else forget them

Each writes before it reads what the other writes. Processors may swap the two, so the daemon
has every processor that runs a worker finish what it has begun (membarrier(2), Linux 4.16).
The epoch's page is sealed: a worker can read it, and nobody can take it away.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import time
from typing import Self

__all__ = ["Epoch", "EpochSeen", "Page", "fence", "heed_fences"]

_PAGE = mmap.PAGESIZE
_F_ADD_SEALS = 1033
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW, _SEAL_FUTURE_WRITE = 1, 2, 4, 16  # the last: Linux 5.1
_MEMBARRIER = {"x86_64": 324, "i686": 375, "armv7l": 389, "ppc64le": 365, "s390x": 356}
_MEMBARRIER_ELSEWHERE = 283  # asm-generic
_GLOBAL_EXPEDITED, _REGISTER_GLOBAL_EXPEDITED = 1 << 1, 1 << 2
_PAUSE = 0.001  # seconds, in which any processor writes back; where there is no such call
_SOON = 0.000_02

_libc = ctypes.CDLL(None, use_errno=True)


class Epoch:
    """A number that only grows: whatever was copied under another one is no more true."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("dnsfw-epoch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.number = 0
        os.ftruncate(self.fd, _PAGE)
        self._map = mmap.mmap(self.fd, _PAGE)
        self._words = memoryview(self._map).cast("Q")
        fcntl.fcntl(
            self.fd, _F_ADD_SEALS, _SEAL_FUTURE_WRITE | _SEAL_SHRINK | _SEAL_GROW | _SEAL_SEAL
        )

    def next(self) -> None:
        """From now on another one; whoever begins to look afterwards sees it."""
        self.number += 1
        self._words[0] = self.number
        fence()

    def close(self) -> None:
        self._words.release()
        self._map.close()
        os.close(self.fd)


class EpochSeen:
    """The same, in a worker."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, _PAGE, prot=mmap.PROT_READ)
        self._words = memoryview(self._map).cast("Q")

    @property
    def number(self) -> int:
        return self._words[0]


class Page:
    """What one worker writes, and its daemon reads: as a stranger's."""

    _TURN, _BEATS, _ANSWERED, _HANDED = range(4)

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, _PAGE)
        self._words = memoryview(self._map).cast("Q")

    @classmethod
    def made(cls) -> Self:
        """A new one."""
        fd = os.memfd_create("dnsfw-worker", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, _PAGE)
        # Its reader would be killed if a page were gone.
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_SHRINK | _SEAL_GROW | _SEAL_SEAL)
        return cls(fd)

    def close(self) -> None:
        self._words.release()
        self._map.close()
        os.close(self.fd)

    # the worker

    def enter(self) -> None:
        """A batch begins: what is looked up from here on may be told."""
        self._words[self._TURN] += 1

    def leave(self, answered: int, handed: int) -> None:
        """It is over: everything that was told of it has been sent."""
        words = self._words
        words[self._ANSWERED], words[self._HANDED] = answered, handed
        words[self._TURN] += 1

    def beat(self) -> None:
        self._words[self._BEATS] += 1

    # the daemon

    @property
    def beats(self) -> int:
        """Changes at least once a second, as long as it turns."""
        return self._words[self._BEATS] + self._words[self._TURN]

    @property
    def answered(self) -> int:
        return self._words[self._ANSWERED]

    @property
    def handed_on(self) -> int:
        return self._words[self._HANDED]

    def passed(self, patience: float) -> bool:
        """Returns when the batch that was under way is over; False: not in so many seconds."""
        turn = self._words[self._TURN]
        if not turn & 1:
            return True
        until = time.monotonic() + patience
        while self._words[self._TURN] == turn:
            if time.monotonic() > until:
                return False
            time.sleep(_SOON)
        return True


def fence() -> None:
    """Returns when whatever the workers wrote before can be seen, and they see what we wrote."""
    if _membarrier(_GLOBAL_EXPEDITED) != 0:
        time.sleep(_PAUSE)


def heed_fences() -> None:
    """A worker's: `fence` counts for it from now on."""
    _membarrier(_REGISTER_GLOBAL_EXPEDITED)


def _membarrier(what: int) -> int:
    call = _MEMBARRIER.get(platform.machine(), _MEMBARRIER_ELSEWHERE)
    return int(_libc.syscall(call, what, 0, 0))
