"""A flood from one asker costs the others nothing: what is too much is dropped, not queued.

While the daemon keeps up, nobody is limited and nothing is counted: that is the usual case,
and costs one comparison a batch. Once a listener is behind, what it could answer in the last
tenth of a second is divided in the next one: who asks less than an equal part gets all of it,
and what he leaves is divided among the others (max-min fairness), first among the roles, then
among the askers of each (a role at an address). So who floods alone is answered as fast as
can be; the moment another one asks, he has his part. A query past its part is thrown away
before anybody looks into it, which is ten times cheaper than an answer. What comes faster than
even that would fill the queue in which all wait: for as long, a filter of the kernel's
(`dnsfw_share`) lets each role send no more than its part, and less as long as the queue stays
long. `tests/server/test_fairness.py` holds this against machines of any speed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf

from dnsfw.engine.effects import Note
from dnsfw.model import Name, Reason, RoleId, RuleId, Verdict, abi
from dnsfw.values import dataclass

__all__ = ["RateLimits", "Rates", "fair_part"]

_GROW = 1.25  # how much more is tried than what was known to be possible
_LESS = 0.5  # and how much less, where more waits than a window has time for: the rest of it
# throws away what waits, ten times faster, so that nobody's query waits for the flood's
_NEARLY = 0.99  # who took the most of all there was would have taken more: his part is cut
_ROOM = 0.9  # of what can be answered the kernel lets through, so that the queue gets shorter:
_LEAST_ROOM = 1 / 64  # less and less while it does not (the kernel counts on each processor)
_FIRST = 5000  # datagrams that it lets through before anything is known: half a listener's queue
_EARLY = 0.25  # of a window: so soon the first parts are cut
_FEWEST = 10  # queries of a window that a part is, however slow the machine: one after the other
_KERNEL_WINDOW = 2**26 / 1e9  # seconds: SHARE_TIME of kernel/asker.bpf.h
_Asker = tuple[RoleId, str]
_ANYBODY = ""  # the address of all who are too many to be told apart


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How often parts are cut anew, and what nobody is left without."""

    window: float = 0.1  # seconds
    least: int = 100  # queries of a window that one asker has in any case: a busy crawler's
    hold: float = 2.0  # seconds after the last sign of a backlog; a flood pauses, too
    askers: int = 4096  # told apart in a window; LAN clients may forge addresses


class Rates:
    """The parts of one daemon's askers, for all its listeners."""

    def __init__(self, now: Callable[[], float], limits: RateLimits = RateLimits()) -> None:
        """`now` in seconds, monotonic."""
        self.limits = limits
        self.dropped: Counter[RoleId] = Counter()
        self.allow: Callable[[int], None] = _nobody  # a role, in a kernel's window
        self._told: Counter[RoleId] = Counter()
        self._now = now
        self._until = 0.0
        self._last = 0.0
        self._waiting = 0
        self._start_over(0.0)

    def behind(self, waiting: int = 0) -> None:
        """A listener has more to read than it can: from now on everybody has a part. So many
        queries wait there, about.
        """
        now = self._now()
        if now >= self._until:
            self._start_over(now)
        self._behind, self._idle = True, False
        self._waiting = max(self._waiting, waiting)
        self._until = now + self.limits.hold

    def caught_up(self) -> None:
        """A listener that was behind has read all there was: more could have been answered."""
        self._idle = True

    @property
    def limiting(self) -> bool:
        return self._until > 0 and self._now() < self._until

    def admits(self, role: RoleId, address: str) -> bool:
        """May this query be looked into? Counts it as dropped if not."""
        return self.admits_of(role, address, 1) == 1

    def admits_of(self, role: RoleId, address: str, count: int) -> int:
        """How many of so many may; the others count as dropped."""
        asker, left = self._left(role, address)
        may = count if left >= count else max(int(left), 0)
        self._asked[asker] += count
        self._had[asker] += may
        self._role_had[role] += may
        if may < count:
            self.dropped[role] += count - may
            self._refused = True
        return may

    def admits_each(
        self, marks: Sequence[int], by_mark: Callable[[int], RoleId], address: str
    ) -> list[tuple[int, RoleId]]:
        """Which of these may that came from one address together: their places, and whose they
        are. Most of a flood is so thrown away unread, and all at once.
        """
        roles = {mark: by_mark(mark) for mark in set(marks)}
        counts = Counter(marks)
        left = {mark: self.admits_of(roles[mark], address, n) for mark, n in counts.items()}
        found: list[tuple[int, RoleId]] = []
        if any(left.values()):
            for place, mark in enumerate(marks):
                if left[mark]:
                    left[mark] -= 1
                    found.append((place, roles[mark]))
        return found

    def takes(self, role: RoleId, address: str, count: int = 1) -> bool:
        """The same for what can wait: TCP reads no more from who has had his part. Of several
        all or none.
        """
        asker, left = self._left(role, address)
        if left < count:
            if count == 1:
                self._asked[asker] += 1
            self._refused = True
            return False
        self._asked[asker] += count
        self._had[asker] += count
        self._role_had[role] += count
        return True

    def _left(self, role: RoleId, address: str) -> tuple[_Asker, float]:
        """Who that is, and how much of his part he has left in this window."""
        now = self._now()
        if now - self._began >= self.limits.window * (_EARLY if self._can == inf else 1):
            self._divide(now)
        self._last = now
        asker = (role, address)
        if asker not in self._asked and len(self._asked) >= self.limits.askers:
            asker = (role, _ANYBODY)
        part = whole = self._role_part
        if role in self._asker_parts:
            part, whole = self._asker_parts[role], self._most
        return asker, min(part - self._had[asker], whole - self._role_had[role])

    def news(self) -> Iterator[Note]:
        """What was dropped since this was last asked, a note a role."""
        for role, count in (self.dropped - self._told).items():
            text = f"{count} queries: more than its share while others waited"
            yield Note(
                "dropped",
                Verdict.DENY,
                Reason.ASKER_RATE,
                role,
                Name(b""),
                RuleId(abi.RuleId.NONE),
                text,
            )
        self._told = self.dropped.copy()

    def _start_over(self, now: float) -> None:
        """Nobody knows yet what can be answered: the first window is everybody's."""
        self._can = inf
        self._cut = False
        self._room = _ROOM
        self._waited = 0
        self._less = _LESS
        self._role_part = inf
        self._most = inf  # of a role that wanted more than its part
        self._asker_parts: dict[RoleId, float] = {}
        self._begin(now)
        self._last = now
        self.allow(_FIRST)

    def _begin(self, now: float) -> None:
        self._began = now
        self._behind = False
        self._idle = False
        self._refused = False
        self._waiting = 0
        self._asked: Counter[_Asker] = Counter()
        self._had: Counter[_Asker] = Counter()
        self._role_had: Counter[RoleId] = Counter()

    def _divide(self, now: float) -> None:
        """Cut the parts of the next window by what was asked and answered in this one."""
        held_up = now - self._last > 2 * self.limits.window  # nobody read: little was measured
        scale = 1 if held_up else self.limits.window / (now - self._began)
        least = self.limits.least
        fewest = min(least, _FEWEST)
        self._can = max(self._possible(self._role_had.total() * scale, held_up), fewest)
        in_vain = self._cut and self._refused and self._waiting >= self._waited
        self._cut = self._waiting > self._can
        roles: Counter[RoleId] = Counter()
        for (role, _), count in self._asked.items():
            roles[role] += count
        whole, wanted = self._can * _NEARLY, [asked * scale for asked in roles.values()]
        part = most = fair_part(whole, wanted)
        more = _GROW
        if self._cut:  # of those who want more than their part: nobody else is to blame
            self._less = max(self._less * _LESS, _LEAST_ROOM) if in_vain else _LESS
            most, more, least = fair_part(whole * self._less, wanted), 1, fewest
        self._role_part = max(part * _GROW, least)
        self._most = max(most * more, least)
        self._asker_parts = {
            role: max(fair_part(most * _NEARLY, self._of(role, scale)) * more, least)
            for role, asked in roles.items()
            if asked * scale >= part
        }
        self._waited = self._waiting
        self._begin(now)
        self._tell(min(most, self._can) / self.limits.window)

    def _possible(self, answered: float, held_up: bool) -> float:
        """How many could have been answered in this window. What is known of earlier ones counts
        for as long as something explains that it was not reached, and no longer: the processor
        may be somebody else's since then.
        """
        known = self._can if self._can < inf else answered
        if self._idle or not self._behind:
            known *= _GROW
        elif held_up:
            known *= _LESS
        elif not (self._cut and self._refused):  # else that took the time
            known = answered
        return max(answered, known)

    def _tell(self, part: float) -> None:
        """The kernel's filter, what it may let through: so many a second of each role."""
        step = _LESS if self._cut else _GROW
        self._room = min(max(self._room * step, _LEAST_ROOM), _ROOM)
        self.allow(max(int(part * self._room * _KERNEL_WINDOW), 1))

    def _of(self, role: RoleId, scale: float) -> Iterator[float]:
        return (count * scale for asker, count in self._asked.items() if asker[0] == role)


def fair_part(whole: float, wanted: Iterable[float]) -> float:
    """The most that anybody gets when a whole is divided max-min fairly; inf if all get all."""
    left = sorted(wanted)
    for number, want in enumerate(left):
        part = whole / (len(left) - number)
        if want > part:
            return part
        whole -= want
    return inf


def _nobody(datagrams: int) -> None:
    """Without a kernel's help."""
