"""Whose the sockets of this host are, kept true while units start, users appear and links come.

The kernel decides at a socket's birth. Whoever ran already when its subject began to count
holds sockets of the old role: these processes are told to who can relabel a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from dnsfw.datapath import cgroup
from dnsfw.datapath.sockdiag import Connection
from dnsfw.datapath.subjects import Subjects
from dnsfw.datapath.tamper import Repair
from dnsfw.datapath.whose import Whose, changed, claims
from dnsfw.model import RoleId, Subject
from dnsfw.server.kernel import Relabel
from dnsfw.server.older import Owner

__all__ = ["Ownership"]


class Ownership:
    """The subjects in the kernel, and what follows from a change of them."""

    def __init__(
        self,
        subjects: Subjects,
        watch: Callable[[Iterable[Path]], bool],
        guarded: Path | None,
        *,
        adopted: bool,
    ) -> None:
        """`guarded` is the cgroup whose sockets the hooks see; None: devices alone."""
        self.subjects = subjects
        self._watch = watch
        self._guarded = guarded
        self._relabel: Relabel | None = None
        self._before = Whose()  # until the last `assign`
        # What the records in the sockets were made by; sockets of no record are the host's.
        self._labelled = subjects.whose if adopted else Whose()

    @property
    def absent(self) -> tuple[str, ...]:
        return tuple(f"{what} does not exist yet" for what in self.subjects.absent)

    def assign(self, subjects: Sequence[Subject]) -> None:
        self._before = self.subjects.whose
        self.subjects.assign(subjects)
        self._look_out()

    def refresh(self) -> list[Repair]:
        """Looks again what exists; says what appeared and what went."""
        before = self.subjects.absent
        happened = self.subjects.refresh()
        self._look_out()
        after = self.subjects.absent
        done = [Repair(f"{what} is there now: it has its role") for what in before
                if what not in after]  # fmt: skip
        done += [Repair(f"{what} is gone") for what in after if what not in before]
        if happened and not done:
            done.append(Repair("a subject was made anew: it has its role again"))
        return done

    def relabel_by(self, relabel: Relabel) -> None:
        self._relabel = relabel

    def catch_up(self) -> None:
        """Tells who relabels of the processes whose sockets are of another role by now."""
        now = self.subjects.whose
        if self._relabel is None or self._guarded is None or now == self._labelled:
            return
        before, self._labelled = self._labelled, now  # even if it fails: never told twice
        for role, pids in changed(self._guarded, before, now).items():
            self._relabel(pids, role)

    def owner(self) -> Owner:
        """Whose each connection is now."""
        return self._owner(self.subjects.whose)

    def owner_before(self) -> Owner:
        """Whose each connection was before the last `assign`."""
        return self._owner(self._before)

    def _owner(self, whose: Whose) -> Owner:
        if self._guarded is None:
            # Without cgroup hooks the kernel knows a socket by its cgroup alone.
            whose = Whose(whose.cgroups)
        seen = {}
        if self._guarded is not None or whose.cgroups:
            top = self._guarded or cgroup.root()
            seen = {number: claim for _, number, claim in claims(top, whose)}

        def owner(connection: Connection) -> RoleId | None:
            if self._guarded is not None and connection.cgroup not in seen:
                return None
            user = connection.user if self._guarded is not None else None
            return whose.role(seen.get(connection.cgroup), user)

        return owner

    def _look_out(self) -> None:
        """A directory that is watched from now on may have changed just before."""
        while self._watch(self._places()):
            self.subjects.refresh()

    def _places(self) -> set[Path]:
        """Where a subject may appear, and where the guarded cgroup may be made anew."""
        found = set(self.subjects.places)
        if self._guarded is not None:
            parent = self._guarded.parent
            with suppress(FileNotFoundError):
                if parent.stat().st_dev == cgroup.root().stat().st_dev:
                    found.add(parent)
        return found
