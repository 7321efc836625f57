"""Inside the helper: who is moved into which role's cgroup, and what becomes of their sockets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct

from dnsfw.datapath import abi, enroll
from dnsfw.datapath.bpf import Map
from dnsfw.datapath.enroll import Place, Tree
from dnsfw.datapath.executables import Executable
from dnsfw.datapath.process import Gone, Process
from dnsfw.datapath.relabel import HeldSocket, listening_ports, relabel, share_counts
from dnsfw.errors import ConfigError
from dnsfw.model import HOST, Rank, RoleId
from dnsfw.values import dataclass

__all__ = ["Moved", "RoleMaker", "refuse_vital"]

_NUMBER = Struct("=Q")
_PATIENCE = 2.5  # seconds for one request's sockets: programs that start wait meanwhile
_TOO_MANY = (
    "too many sockets to look at: {count} have the role, the rest keeps the one they had; end the "
    "processes that hold them"
)


@dataclass(frozen=True, slots=True)
class Moved:
    """Who is where now."""

    cgroup: str
    number: int
    role: RoleId
    pids: tuple[int, ...]
    sockets: tuple[HeldSocket, ...]
    notes: tuple[str, ...]


class RoleMaker:
    """The two tables that the helper may write, and the cgroups that it made."""

    def __init__(self, tree: Tree, maps: Mapping[str, Map], told: Callable[[str, str], None]):
        self._tree = tree
        self._cgroups = maps["dnsfw_cgroups"]
        self._socks = maps["dnsfw_socks"]
        self._told = told
        self.patience = _PATIENCE
        self._homes: dict[int, Path] = {}  # of processes whose role's cgroup is not below theirs
        self._made = set(self._found())  # to be removed when nobody is in them

    def enroll(self, pid: int, role: RoleId, name: str, *, force: bool) -> Moved:
        """See `Helper.enroll`."""
        with Process(pid) as process:
            refuse_vital(process)
            place = self._tree.place(process, name, Rank.ENROLLED, force=force)
            number = self._register(place, role)
            process.check()
            moved = self._tree.move(process, place)
            if place.path.parent != place.base:
                self._homes.update(dict.fromkeys(moved, place.base))
        notes = list(place.notes)
        sockets = self.relabel(moved, role, notes)
        return Moved(self._tree.shown(place.path), number, role, moved, sockets, tuple(notes))

    def unenroll(self, pid: int) -> Moved:
        """See `Helper.unenroll`."""
        with Process(pid) as process:
            where = self._tree.directory(process)
            home = self._tree.home(process)
            if home == where:
                raise ConfigError(f"process {pid} is in no cgroup that dnsfw made")
            home = self._homes.pop(pid, home)
            moved = self._tree.move(process, Place(home, home, Rank.NONE))
            role = self._role_at(home)
        for child in moved:
            self._homes.pop(child, None)
        notes: list[str] = []
        sockets = self.relabel(moved, role, notes)
        self.tidy()
        number = home.stat().st_ino
        return Moved(self._tree.shown(home), number, role, moved, sockets, tuple(notes))

    def on_exec(self, pid: int, executable: Executable) -> None:
        """Called while the kernel holds the exec."""
        with Process(pid) as process:
            where = self._tree.directory(process)
            if self._rank_at(where)[0] > Rank.EXECUTABLE:
                return  # the policy or an operator has named its cgroup: that counts more
            place = self._tree.place(process, executable.name, Rank.EXECUTABLE)
            if place.path == where:
                return
            self._register(place, executable.role)
            enroll.put(process, place.path)
        self._told("enrolled", f"process {pid} runs {executable.path} as {executable.name}")

    def relabel(
        self, pids: Sequence[int], role: RoleId, notes: list[str] | None = None
    ) -> tuple[HeldSocket, ...]:
        """See `Helper.relabel`; with `notes` it also looks who else holds the sockets."""
        found: dict[int, HeldSocket] = {}  # a socket that several of them hold counts once
        ports: dict[str, frozenset[int]] = {}  # by network namespace: mostly all the same
        until = time.monotonic() + self.patience
        for pid in pids:
            if time.monotonic() > until:
                break
            with suppress(Gone, OSError), Process(pid) as process:
                where = str(Path(f"/proc/{pid}/ns/net").readlink())
                if where not in ports:
                    ports[where] = listening_ports(process)
                for held in relabel(process, self._socks, role, ports[where], until):
                    found.setdefault(held.cookie, held)
        sockets = tuple(found.values())
        if time.monotonic() > until:
            self._told("trouble", _TOO_MANY.format(count=len(sockets)))
            if notes is not None:
                notes.append(_TOO_MANY.format(count=len(sockets)))
        elif notes is not None:
            sockets = share_counts(sockets, pids)
            if count := sum(held.shared for held in sockets):
                notes.append(f"{count} of the sockets are held by processes outside the role too")
        return sockets

    def tidy(self) -> None:
        """Cgroups that nobody is in any more go, and their rows."""
        for path in tuple(self._made):
            with suppress(OSError):
                number = path.stat().st_ino
                if enroll.members(path) or not enroll.remove(path):
                    continue
                self._cgroups.delete(_NUMBER.pack(number))
            if not path.exists():
                self._made.discard(path)

    def dissolve(self) -> tuple[str, ...]:
        """Everybody back, the deepest first; says which cgroups are still there."""
        stayed = []
        for path in sorted(self._found(), key=lambda p: len(p.parts), reverse=True):
            home = path.parent
            while home != self._tree.top and enroll.rank_of(home) is not None:
                home = home.parent
            if enroll.rank_of(path) is not Rank.NONE and not enroll.dissolve(path, home):
                stayed.append(self._tree.shown(path))
        self._made.clear()
        self._homes.clear()
        return tuple(stayed)

    def _register(self, place: Place, role: RoleId) -> int:
        """The table before the first process: nobody is there without the role."""
        number = place.make()
        self._cgroups.update(_NUMBER.pack(number), abi.Subject(role, place.rank).pack())
        self._made.add(place.path)
        return number

    def _rank_at(self, where: Path) -> tuple[Rank, RoleId]:
        """As the hooks see it: the highest rank on the way up, of equals the deepest."""
        best, role = Rank.NONE, HOST
        while True:
            with suppress(OSError):
                raw = self._cgroups.lookup(_NUMBER.pack(where.stat().st_ino))
                if raw is not None and (found := abi.Subject.unpack(raw)).rank > best:
                    best, role = Rank(found.rank), RoleId(found.role)
            if where == self._tree.top:
                return best, role
            where = where.parent

    def _role_at(self, where: Path) -> RoleId:
        return self._rank_at(where)[1]

    def _found(self) -> list[Path]:
        """Every cgroup that dnsfw made, by an earlier process too."""
        below = (Path(where) for where, _, _ in os.walk(self._tree.guarded))
        return [path for path in below if enroll.rank_of(path) is not None]


def refuse_vital(process: Process) -> None:
    """ConfigError for init, kernel threads, the daemon and ourselves: nobody means these."""
    if process.pid in {1, os.getpid(), os.getppid()} or process.is_kernel_thread:
        raise ConfigError(f"process {process.pid} ({process.name}) is not for enrolling")
