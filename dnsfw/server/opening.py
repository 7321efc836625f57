"""Promise 1: the journal knows, then the kernel allows, and only then a client hears.

For one answer or for many: what waits is opened by one write of the journal and one of the
tables. Where that fails each answer is tried by itself, in order, and an address that could
not be opened for one of them is not told by any other of these either, for what it wrote was
reckoned on top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from dnsfw.datapath.sink import Sink
from dnsfw.engine.effects import Holder, OpenThenReply
from dnsfw.errors import DatapathError
from dnsfw.model import Addr, RoleId
from dnsfw.server.faults import Faults

__all__ = ["Journaling", "Opening"]

Opened = Callable[[Sequence[OpenThenReply]], None]
Failed = Callable[[OpenThenReply], None]


class Journaling(Protocol):
    """Who remembers over a crash which name holds which address."""

    def add(self, holders: Sequence[Holder]) -> None: ...


class Opening:
    """Answers that wait until what they tell is open."""

    def __init__(
        self, sink: Sink, journal: Journaling, faults: Faults, opened: Opened, failed: Failed
    ) -> None:
        """`opened` raises nothing."""
        self.waiting: list[OpenThenReply] = []
        self.add = self.waiting.append
        self._sink = sink
        self._journal = journal
        self._faults = faults
        self._opened = opened
        self._failed = failed

    def commit(self) -> None:
        """Open all that waits, and tell who waits for it."""
        if not self.waiting:
            return
        taken = self.waiting[:]
        self.waiting.clear()
        if len(taken) == 1:
            self._end(taken[0], whole=self._write(taken[0]))
            return
        holders = tuple([holder for one in taken for holder in one[1]])
        entries = tuple([entry for one in taken for entry in one[0]])
        if self._write(OpenThenReply(entries, holders, ())):
            self._opened(taken)
        else:
            self._one_by_one(taken)

    def _one_by_one(self, taken: Sequence[OpenThenReply]) -> None:
        """The journal knows them all. Nobody knows which of the entries the kernel has."""
        shut: set[tuple[RoleId, Addr]] = set()
        for one in taken:
            mine = {(holder.role, holder.addr) for holder in one.holders}
            whole = not mine & shut and self._write(one._replace(holders=()))
            if not whole:
                shut |= mine
            self._end(one, whole=whole)

    def _write(self, effect: OpenThenReply) -> bool:
        try:
            if effect[1]:
                self._journal.add(effect[1])
            self._sink.write(effect[0])
        except Exception as error:  # whatever it was: nobody knows what the kernel took
            if not isinstance(error, DatapathError):
                self._faults.caught("opening an answer", error)
            return False
        return True

    def _end(self, effect: OpenThenReply, *, whole: bool) -> None:
        if whole:
            self._opened((effect,))
            return
        try:
            self._failed(effect)
        except Exception as error:  # one client's; the others' answers go on
            self._faults.caught("performing OpenThenReply", error)
