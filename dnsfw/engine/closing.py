"""Look-ups for block lists (promise 7): the addresses of denied names, to be closed.

Only in roles with `default: allow`. Exact denied names and apexes come from the policy
and are renewed by their TTL; names that a client made up below a wildcard come only where
the rule says `close: asked`, a bounded number a minute, and are looked up when asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from dnsfw.engine.limits import Limits
from dnsfw.model import SECOND, Name, Nanos, RoleId, RuleId
from dnsfw.policy.policy import Policy
from dnsfw.policy.rule import Rule
from dnsfw.values import dataclass
from dnsfw.wire.message import AAAA, A
from dnsfw.wire.name import labels

_TYPES = (A, AAAA)
_MINUTE = 60 * SECOND
_NO_ADDRESS = 60  # seconds until a name without addresses is asked again, at least
_RETRY = 5 * SECOND  # after a failure; doubled up to
_RETRY_MAX = 300 * SECOND
_REMEMBERED = 4096  # asked names that need no new look-up yet


class Closing(NamedTuple):
    """One look-up to make."""

    role: RoleId
    name: Name
    qtype: int


@dataclass(slots=True)
class _Window:
    start: Nanos
    count: int = 0


class Closings:
    """The timetable of closing look-ups."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._due: list[tuple[Nanos, int, Closing]] = []
        self._wanted: dict[Closing, int] = {}  # from the policy: failures in a row
        self._asked: OrderedDict[Closing, Nanos] = OrderedDict()  # not again before
        self._windows: dict[tuple[RoleId, RuleId], _Window] = {}
        self._flying: set[Closing] = set()
        self._order = 0
        self.left_out = 0

    def __len__(self) -> int:
        return len(self._wanted)

    def __contains__(self, item: Closing) -> bool:
        return item in self._wanted

    def flying(self, item: Closing) -> bool:
        """Whether its answer is waited for."""
        return item in self._flying

    def load(self, policy: Policy, now: Nanos) -> None:
        """Take the names from a policy; those that were there before keep their time."""
        wanted = [
            Closing(role, name, qtype)
            for role, rules in policy.roles.items()
            for name, _rule in rules.closes
            for qtype in _TYPES
        ]
        wanted = list(dict.fromkeys(wanted))
        self.left_out = max(0, len(wanted) // len(_TYPES) - self._limits.closings)
        wanted = wanted[: self._limits.closings * len(_TYPES)]
        new = [item for item in wanted if item not in self._wanted]
        self._wanted = {item: self._wanted.get(item, 0) for item in wanted}
        self._due = [item for item in self._due if item[2] in self._wanted]
        self._due.sort()
        alive = {(role, rule) for role, rules in policy.roles.items() for rule in rules.rules_by_id}
        self._windows = {key: w for key, w in self._windows.items() if key in alive}
        self._asked.clear()
        for item in new:
            self._push(now, item)

    def ask(self, role: RoleId, name: Name, rule: Rule, now: Nanos) -> bool:
        """A client asked for a denied name: look it up, if its rule and its shape allow."""
        if (
            rule.close != "asked"
            or max(map(len, labels(name)), default=0) > self._limits.asked_label
        ):
            return False
        items = [Closing(role, name, qtype) for qtype in _TYPES]
        if any(item in self._wanted or self._asked.get(item, 0) > now for item in items):
            return False
        if len(self._due) >= len(self._wanted) + _REMEMBERED:
            return False  # upstreams are slower than clients ask
        window = self._windows.setdefault((role, rule.id), _Window(now))
        if now - window.start >= _MINUTE:
            window.start, window.count = now, 0
        if window.count >= self._limits.asked_a_minute:
            return False
        window.count += 1
        for item in items:
            self._remember(item, Nanos(now + _RETRY))
            self._push(now, item)
        return True

    def take(self, now: Nanos) -> Iterator[Closing]:
        """The look-ups to start now; never more at once than the limit."""
        while self._due and self._due[0][0] <= now:
            if len(self._flying) >= self._limits.closings_at_once:
                return
            item = heappop(self._due)[2]
            if item not in self._flying:
                self._flying.add(item)
                yield item

    def found(self, item: Closing, seconds: int, now: Nanos) -> None:
        """Answered: again after its TTL (0: it has no address)."""
        self._flying.discard(item)
        again = Nanos(now + (seconds or _NO_ADDRESS) * SECOND)
        if item in self._wanted:
            self._wanted[item] = 0
            self._push(again, item)
        else:
            self._remember(item, again)

    def failed(self, item: Closing, now: Nanos) -> None:
        self._flying.discard(item)
        if item in self._wanted:
            fails = self._wanted[item]
            self._wanted[item] = fails + 1
            self._push(Nanos(now + min(_RETRY << min(fails, 16), _RETRY_MAX)), item)

    def next_due(self) -> Nanos | None:
        """When to call `take`; None while nothing can start."""
        if not self._due or len(self._flying) >= self._limits.closings_at_once:
            return None
        return self._due[0][0]

    def _push(self, when: Nanos, item: Closing) -> None:
        self._order += 1
        heappush(self._due, (when, self._order, item))

    def _remember(self, item: Closing, until: Nanos) -> None:
        self._asked[item] = until
        self._asked.move_to_end(item)
        if len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)
