"""The rights of the DNS process: as few as its work needs, from before the first query on.

    kept        CAP_BPF                tables: answers, reloads
                CAP_NET_ADMIN          hooks that are put back, new devices, SOCK_DESTROY
                CAP_NET_BIND_SERVICE   ports below 1024, at a reload too
    at start    CAP_PERFMON            the verifier refuses the programs without it (Linux 6.18)
                CAP_NET_RAW            optional: the self-test of device hooks

Everything else (setns, fanotify, sockets of other processes, cgroups) is the helper's, and
the BPF file system's mount is done before. None of it needs root: a service of another user
that is given these, a run directory and a pin directory of its own works.

Capabilities belong to a thread (capabilities(7)): a thread that starts earlier gives up its
own in its first line, and `drop` looks that each has.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from enum import IntEnum
from struct import Struct

from dnsfw.errors import DatapathError

__all__ = [
    "HELPER", "KEPT", "TO_START", "Cap", "Missing", "check", "drop", "drop_all", "hand_on", "held",
]  # fmt: skip


class Cap(IntEnum):
    """linux/capability.h."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    SETPCAP = 8
    NET_BIND_SERVICE = 10
    NET_ADMIN = 12
    NET_RAW = 13
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    PERFMON = 38
    BPF = 39

    @property
    def title(self) -> str:
        return f"CAP_{self.name}"


KEPT = frozenset({Cap.BPF, Cap.NET_ADMIN, Cap.NET_BIND_SERVICE})
TO_START: Mapping[Cap, str] = {
    Cap.BPF: "the tables and programs of the wall",
    Cap.NET_ADMIN: "attaching them",
    Cap.PERFMON: "loading them; given up after that",
}
# setns and fanotify; other processes' descriptors; cgroups of others; the sockets' rest
HELPER = frozenset({
    Cap.SYS_ADMIN, Cap.SYS_PTRACE, Cap.DAC_OVERRIDE, Cap.BPF, Cap.NET_ADMIN,
    Cap.NET_BIND_SERVICE,
})  # fmt: skip

_VERSION_3 = 0x20080522
_HEADER = Struct("=Ii")
_SETS = Struct("=6I")  # effective, permitted, inheritable of numbers 0..31, then of 32..63
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 24, 38, 47
_PR_CAPBSET_READ, _PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 23, 2, 4
_LOOKS, _PAUSE = 100, 0.01  # seconds
_libc = ctypes.CDLL(None, use_errno=True)


class Missing(DatapathError):
    """Capabilities that are wanted and not held, each with what it is for."""

    def __init__(self, wanted: Mapping[Cap, str]) -> None:
        lines = ", ".join(f"{cap.title} ({what})" for cap, what in wanted.items())
        names = " ".join(cap.title for cap in wanted)
        super().__init__(
            f"missing {lines}; remedy: run as root, or let systemd give them to the user "
            f"(AmbientCapabilities={names})"
        )
        self.wanted = dict(wanted)


def held(proc: str = "/proc/thread-self") -> frozenset[Cap]:
    """What this thread may do now, of what dnsfw knows."""
    effective = _set_of(f"{proc}/status", "CapEff")
    return frozenset(cap for cap in Cap if effective >> cap & 1)


def check(wanted: Mapping[Cap, str]) -> None:
    """Missing lists every one that is not held. CAP_SYS_ADMIN stands for what was split off it."""
    have = held()
    if Cap.SYS_ADMIN in have:
        have |= {Cap.BPF, Cap.PERFMON}
    if missing := {cap: what for cap, what in wanted.items() if cap not in have}:
        raise Missing(missing)


def drop(keep: Iterable[Cap] = KEPT) -> frozenset[Cap]:
    """This thread, and every program it starts, has these at most from now on; what it has.

    The bounding set is emptied, nothing is inheritable or ambient, no_new_privs is set: no
    set-uid program gives anything back. DatapathError if that failed or another thread of
    this process still has more.
    """
    have = held()
    kept = have & frozenset(keep)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    if Cap.SETPCAP in have:  # else a bounding set of a service manager's: it gives nothing
        for number in _known():
            _prctl(_PR_CAPBSET_DROP, number)
    mask = sum(1 << cap for cap in kept)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = _HEADER.pack(_VERSION_3, 0)
    if _libc.capset(header, _SETS.pack(low, low, 0, high, high, 0)) != 0:
        raise DatapathError(f"cannot give up privileges: {os.strerror(ctypes.get_errno())}")
    for _ in range(_LOOKS):
        if not (more := [name for name, mine in _threads() if mine & ~mask]):
            return kept
        time.sleep(_PAUSE)  # its first line may be to come
    raise DatapathError(f"threads {', '.join(more)} have more privileges than they should")


def hand_on(keep: Iterable[Cap]) -> None:
    """The program that this process becomes has these of ours, whoever's it is, and root's no
    others where we may say so. Never fails.
    """
    mine = held() & frozenset(keep)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for number in _known():
        if number not in mine:
            _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    mask = sum(1 << cap for cap in mine)
    permitted = _set_of("/proc/thread-self/status", "CapPrm")
    sets = [part >> shift & 0xFFFFFFFF for shift in (0, 32) for part in (permitted,) * 2 + (mask,)]
    _libc.capset(_HEADER.pack(_VERSION_3, 0), _SETS.pack(*sets))
    for cap in mine:
        _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, int(cap), 0, 0)


def drop_all() -> None:
    """A thread that only writes files needs nothing; for its first line. Never fails."""
    _libc.capset(_HEADER.pack(_VERSION_3, 0), bytes(_SETS.size))


def _threads() -> Iterator[tuple[str, int]]:
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - numbers, not paths
        with suppress(OSError):  # it has ended
            yield thread, _set_of(f"/proc/self/task/{thread}/status", "CapPrm")


def _known() -> Iterator[int]:
    """The numbers of this kernel's capabilities."""
    for number in range(64):
        if _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) < 0:
            return
        yield number


def _prctl(what: int, argument: int) -> None:
    if _libc.prctl(what, argument, 0, 0, 0) != 0:
        raise DatapathError(
            f"cannot give up privileges: prctl {what}: {os.strerror(ctypes.get_errno())}"
        )


def _set_of(status: str, name: str) -> int:
    with open(status) as lines:  # noqa: PTH123 - the helper does without pathlib
        found = lines.read()
    for line in found.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1], 16)
    return 0
