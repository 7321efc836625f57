"""Into a role's cgroup: where it is, who goes along, and how they come back.

A role's cgroup is a child of the process's own, so that the limits, the accounting and the
`systemctl stop` that it lives under still reach it:

    nginx.service/            what systemd made
      dnsfw-web/              enrolled by hand
      dnsfw-exec.web/         moved there as they started a program of the role

Only a process of the root cgroup, or of one that is not guarded, goes to `dnsfw/ROLE` below
what is guarded. Moving a process takes its threads along; children are made where their
parent is (cgroup_can_fork in the kernel), so after the move nothing is left to race with.
What dnsfw made is known by an extended attribute that only CAP_SYS_ADMIN can set.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dnsfw.datapath.process import Gone, Process
from dnsfw.errors import ConfigError, DatapathError
from dnsfw.model import Rank
from dnsfw.values import dataclass

__all__ = ["Place", "Tree", "dissolve", "members", "put", "rank_of", "remove"]

_NAMES = {Rank.ENROLLED: "dnsfw-", Rank.EXECUTABLE: "dnsfw-exec."}
_TOP = "dnsfw"
_OURS = "trusted.dnsfw.rank"  # on a cgroup that we made: its rank
_PROCS = "cgroup.procs"
_UNITS = (".service", ".scope", ".socket", ".mount", ".swap")
# systemd marks what it delegates: since version 251 the first, before it the second.
_DELEGATED = ("user.delegate", "trusted.delegate")
_ROUNDS = 1000  # of looking for more children: each finds some, so this only bounds a bug


@dataclass(frozen=True, slots=True)
class Place:
    """A role's cgroup, for one process."""

    path: Path
    base: Path  # the process's own cgroup without what dnsfw added
    rank: Rank
    notes: tuple[str, ...] = ()

    def make(self) -> int:
        """The id of the cgroup, made if it was not there. DatapathError."""
        try:
            if self.path.parent.name == _TOP:
                _mkdir(self.path.parent, Rank.NONE)
            _mkdir(self.path, self.rank)
            return self.path.stat().st_ino
        except FileExistsError:
            raise DatapathError(
                f"the cgroup {self.path} is not dnsfw's; remedy: remove it, or name the role "
                "differently"
            ) from None
        except OSError as error:
            raise DatapathError(
                f"cannot make the cgroup {self.path}: {error.strerror}; it needs the rights of "
                "root in the cgroup tree"
            ) from None


class Tree:
    """The cgroup version 2 tree as far as roles go."""

    def __init__(self, top: Path, guarded: Path | None = None) -> None:
        self.top = top
        self.guarded = guarded or top

    def directory(self, process: Process) -> Path:
        """Where a process is. ConfigError: out of this container's sight."""
        path = process.cgroup()
        if path.startswith("/.."):
            raise ConfigError(f"process {process.pid} is in a cgroup that is not visible here")
        return self.top / path.lstrip("/")

    def shown(self, path: Path) -> str:
        return "/" + str(path.relative_to(self.top)).lstrip(".")

    def place(self, process: Process, name: str, rank: Rank, *, force: bool = False) -> Place:
        """The cgroup that this role's processes from there have. ConfigError without `force`
        where systemd does not expect anybody to make one.
        """
        base = self._base(self.directory(process), rank)
        if base == self.top or not base.is_relative_to(self.guarded):
            name = f"exec.{name}" if rank is Rank.EXECUTABLE else name
            outside = () if base == self.top else (_OUTSIDE.format(where=self.shown(base)),)
            return Place(self.guarded / _TOP / name, base, rank, outside)
        notes = self._delegation(base, force or rank is Rank.EXECUTABLE)
        return Place(base / f"{_NAMES[rank]}{name}", base, rank, notes)

    def home(self, process: Process) -> Path:
        """Where an enrolled process came from, as far as the tree tells."""
        return self._base(self.directory(process), Rank.ENROLLED)

    def move(self, process: Process, place: Place) -> tuple[int, ...]:
        """The process and its descendants of the same cgroup, as they are in the role now.

        Gone if the first ended; a child that ended meanwhile is not missed.
        """
        left = self.directory(process)
        put(process, place.path)
        process.check()
        moved = [process.pid]
        for _ in range(_ROUNDS):
            more = _children(left, set(moved))
            for pid in more:
                with suppress(Gone), Process(pid) as child:
                    put(child, place.path)
                moved.append(pid)
            if not more:
                break
        return tuple(moved)

    def _base(self, path: Path, most: Rank) -> Path:
        """Without the cgroups of up to this rank that dnsfw made."""
        while path != self.top and (rank := rank_of(path)) is not None and rank <= most:
            path = path.parent
        return path

    def _delegation(self, base: Path, force: bool) -> tuple[str, ...]:
        unit = self._unit(base)
        if unit is None:
            return ()
        if (owner := base.stat().st_uid) != 0:
            return (f"user {owner} owns {self.shown(base)} and may move its processes out again",)
        if force or _is_delegated(unit, base):
            return ()
        raise ConfigError(
            f"systemd owns {self.shown(unit)} and has not delegated it: a cgroup made there is "
            f"not known to it (resource settings do not reach it, and a restart of {unit.name} "
            "leaves the role). Better: name the unit as a subject of the role "
            f"({{cgroup: {unit.name}}}), or set Delegate=yes in the unit; or say --force"
        )

    def _unit(self, path: Path) -> Path | None:
        while path != self.top and path != path.parent:
            if path.name.endswith(_UNITS):
                return path
            path = path.parent
        return None


def rank_of(cgroup: Path) -> Rank | None:
    """What dnsfw made this cgroup for; None if it did not (or we may not know)."""
    try:
        return Rank(int(os.getxattr(cgroup, _OURS)))
    except (OSError, ValueError):
        return None


def put(process: Process, cgroup: Path) -> None:
    """One process with its threads. Gone; DatapathError says why the kernel refuses."""
    try:
        (cgroup / _PROCS).write_text(f"{process.pid}\n")
    except ProcessLookupError:
        raise Gone(process.pid) from None
    except OSError as error:
        process.check()
        why = {
            errno.EBUSY: "it hands controllers down, so it takes no processes",
            errno.EOPNOTSUPP: "it is a threaded cgroup",
        }.get(error.errno or 0, error.strerror)
        raise DatapathError(f"cannot move process {process.pid} to {cgroup}: {why}") from None


def members(cgroup: Path) -> tuple[int, ...]:
    """The processes of a cgroup itself."""
    with suppress(OSError):
        # 0: of a process namespace that we cannot see
        return tuple(pid for pid in map(int, (cgroup / _PROCS).read_text().split()) if pid)
    return ()


def dissolve(cgroup: Path, home: Path) -> bool:
    """Everybody back to `home`, and the cgroup removed; False if somebody stayed."""
    for pid in members(cgroup):
        with suppress(Gone, DatapathError), Process(pid) as process:
            put(process, home)
    return remove(cgroup)


def remove(cgroup: Path) -> bool:
    """Away with a cgroup that nobody is in; False if somebody is."""
    try:
        cgroup.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    if cgroup.parent.name == _TOP:
        with suppress(OSError):  # other roles are in it
            cgroup.parent.rmdir()
    return True


def _mkdir(path: Path, rank: Rank) -> None:
    """FileExistsError if somebody else made one of this name, and uses it."""
    try:
        path.mkdir(mode=0o755)
    except FileExistsError:
        if rank_of(path) is rank:
            return
        if members(path):
            raise
    os.setxattr(path, _OURS, b"%d" % rank)


def _is_delegated(unit: Path, base: Path) -> bool:
    """The unit, or a cgroup between it and the process, is marked as the unit's to divide."""
    path = base
    while True:
        for attribute in _DELEGATED:
            with suppress(OSError):
                if os.getxattr(path, attribute) == b"1":
                    return True
        if path == unit:
            return False
        path = path.parent


def _children(cgroup: Path, parents: Iterable[int]) -> list[int]:
    known = set(parents)
    found = []
    for pid in members(cgroup):
        with suppress(Gone), Process(pid) as process:
            if pid not in known and process.parent() in known:
                found.append(pid)
    return found


_OUTSIDE = "it was in {where}, which is not guarded; it is below what is guarded now"
