"""What the daemon has its privileged helper do, and what it hears from it.

All of it is optional: without a helper the wall stands and judges as before. What then
does not work (enrolling, programs as subjects, sockets of processes that ran already) is
said once in the log, and in `status`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dnsfw.errors import DatapathError
from dnsfw.model import RoleId, SubjectKind
from dnsfw.policy.policy import Policy
from dnsfw.server.helper import Executable, Helper
from dnsfw.server.kernel import Kernel

if TYPE_CHECKING:
    from dnsfw.server.reload import Reloader

__all__ = ["Helping"]

_AT_ONCE = 64  # processes in one request: whoever enrols one meanwhile waits for no more
_Said = Callable[[str, str], None]


class Helping:
    """The daemon's side of the helper."""

    def __init__(self, helper: Helper, kernel: Kernel, said: _Said) -> None:
        self.helper = helper
        self._absent: tuple[str, ...] = ()  # programs
        self._kernel = kernel
        self._said = said
        self._wants_programs = False
        self._file: int | None = None  # what the loop reads
        # that wait for a role, each with the place it had when that was found
        self._older: deque[tuple[Sequence[tuple[int, str]], RoleId]] = deque()
        self._relabelling: asyncio.Task[None] | None = None
        self._waits = False  # the loop turns, and must not be held up

    @property
    def missing(self) -> list[str]:
        """The programs that do not exist, for `status`."""
        return [f"executable {path} does not exist yet" for path in self._absent]

    @property
    def wrong(self) -> str:
        """What the policy wants and cannot have, for `status`."""
        return self.helper.lost if self._wants_programs and not self.helper.alive else ""

    def start(
        self, loop: asyncio.AbstractEventLoop, guarded: str | None, reloader: Reloader
    ) -> None:
        """Once the wall stands: give it its tables, hear it, move what runs already."""
        tables = self._kernel.helper_tables()
        if self.helper.alive and tables is not None:
            self.helper.tables(*tables, guarded)
            if self._kernel.registered():  # by an earlier helper: when they are empty they go
                self._try(self.helper.wake)
        self._file = self.helper.fileno()
        if self._file is not None:
            loop.add_reader(self._file, self._hear, loop)
        self._kernel.on_relabel(self._relabel)  # before anybody is told that the wall stands
        reloader.relabelled = self.relabelled
        self._waits = True
        self.take(reloader.policy)

    async def relabelled(self) -> None:
        """Returns when the sockets that are known to need a role have it."""
        if self._relabelling is not None:
            await asyncio.shield(self._relabelling)

    def take(self, policy: Policy) -> None:
        """The programs that are subjects of this policy, and no others, are looked after."""
        wanted = list(_programs(policy))
        self._wants_programs = bool(wanted)
        if self._kernel.helper_tables() is not None and (wanted or self.helper.alive):
            self._try(lambda: self._watch(wanted))

    def stop(self, loop: asyncio.AbstractEventLoop, *, remove: bool) -> None:
        """`remove`: nobody stays in a cgroup that dnsfw made."""
        self._deafen(loop)
        self._older.clear()
        if self._relabelling is not None:
            self._relabelling.cancel()
        if remove and self.helper.alive:
            self._try(self.helper.dissolve)
        self.helper.close()

    def _watch(self, wanted: Sequence[Executable]) -> None:
        self._absent = self.helper.watch_executables(wanted)

    def _relabel(self, pids: Sequence[int], role: RoleId) -> None:
        """A service may hold ten thousand sockets, which takes a second: in a thread, a few
        processes at a time, so that neither answers nor other requests wait for all of them.
        """
        if not self._waits:
            self._try(lambda: self._relabel_some(pids, role))
            return
        placed = [(pid, _place(pid)) for pid in pids]
        self._older += [(placed[at : at + _AT_ONCE], role) for at in range(0, len(pids), _AT_ONCE)]
        if self._relabelling is None or self._relabelling.done():
            self._relabelling = asyncio.get_running_loop().create_task(self._relabel_all())

    def _relabel_some(self, pids: Sequence[int], role: RoleId) -> None:
        self.helper.relabel(pids, role)

    async def _relabel_all(self) -> None:
        while self._older:
            placed, role = self._older.popleft()  # in the order of the changes: the last one holds
            # Who was moved meanwhile has whatever role he has there.
            pids = [pid for pid, place in placed if _place(pid) == place]
            try:
                await asyncio.to_thread(self._relabel_some, pids, role)
            except DatapathError as error:
                self._said("trouble", str(error))

    def _hear(self, loop: asyncio.AbstractEventLoop) -> None:
        for told in self.helper.told():
            self._said(told.kind if told.kind == "enrolled" else "trouble", told.text)
        if not self.helper.alive:
            self._deafen(loop)

    def _deafen(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._file is not None:
            loop.remove_reader(self._file)
            self._file = None

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except DatapathError as error:
            self._said("trouble", str(error))


def _programs(policy: Policy) -> Iterator[Executable]:
    numbers = {role: number for number, role in policy.numbers.items()}  # in an older tool's file
    numbers = {role: number for number, role in policy.numbers.items()}
    for subject in policy.subjects:
        if subject.kind is SubjectKind.EXECUTABLE:
            role = policy.roles[subject.role]
            number = numbers.get(role.role, 0)
            yield Executable(subject.value, role.role, role.name, number)


def _place(pid: int) -> str:
    """The cgroups of a process; nothing of one that is gone."""
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""
