"""Names that the kernel refused by itself, told like those that came by us.

Of a flood it sends a few a second (`Limit.EVENTS_A_SECOND`), each with its name and its asker;
how many there were in all is in its counters.
"""

from __future__ import annotations

from collections.abc import Callable

from dnsfw.engine import notes
from dnsfw.engine.effects import Note
from dnsfw.model import Name, RoleId
from dnsfw.policy.policy import Policy
from dnsfw.server.kernel import AskedSource
from dnsfw.server.who_asks import Who

__all__ = ["KernelRefusals", "Look", "Refused"]

Look = Callable[[bytes, int, int], Who]  # address, port, namespace


class Refused:
    """One of them: what a note says, and what a reply would have shown besides."""

    __slots__ = ("note", "qtype", "who")

    def __init__(self, note: Note, qtype: int, who: Who) -> None:
        self.note = note
        self.qtype = qtype
        self.who = who


class KernelRefusals:
    """Call `look` when the descriptor is readable."""

    def __init__(
        self,
        source: AskedSource,
        policy: Callable[[], Policy],
        look: Look,
        tell: Callable[[Refused], None],
    ) -> None:
        self._source = source
        self._policy = policy
        self._look = look
        self._tell = tell

    def fileno(self) -> int:
        """Readable when there is something."""
        return self._source.fileno()

    def look(self) -> None:
        """What came since the last time."""
        policy = self._policy()
        for event in self._source.read():
            name = Name(bytes(event.name[: event.length]))
            role = policy.roles.get(RoleId(event.role))
            if role is None or not name.endswith(b"\0"):  # a role that is gone; no name of ours
                continue
            judged = role.judge(name)
            if judged.answered:  # refused by the policy before this one
                continue
            note = notes.refused(role.role, name, judged.reason, judged.rule)
            self._tell(Refused(note, event.qtype, self._look(event.addr, event.port, event.netns)))
