"""Keeps the names of rules with `keep: true` resolved: at load, and ahead of their expiry.

Promise 7 allows it: they are exact names that the policy allows and lists itself. What comes
back goes the way of every answer, only that nobody waits for it.
"""

from __future__ import annotations

from heapq import heappop, heappush

from dnsfw.engine import notes
from dnsfw.engine.cache import Cache, CacheKey
from dnsfw.engine.closing import Closing
from dnsfw.engine.effects import Effect
from dnsfw.engine.facts import Facts
from dnsfw.engine.limits import Limits
from dnsfw.engine.lookups import Done, Lookups, Rng
from dnsfw.engine.settle import Settler
from dnsfw.model import HOST, SECOND, Mode, Nanos
from dnsfw.policy.policy import Policy
from dnsfw.policy.rule import Ttl
from dnsfw.wire.codes import IN
from dnsfw.wire.message import AAAA, RD, A
from dnsfw.wire.name import ROOT

__all__ = ["Keeper"]

_TYPES = (A, AAAA)
_LEAST = 5  # seconds between two look-ups of one name, whatever its TTL says
_NO_ADDRESS = 60
_RETRY = 5 * SECOND  # after a failure; doubled up to
_RETRY_MAX = 300 * SECOND
_BITS = 16


class Keeper:
    """The timetable of these look-ups, and what becomes of their answers."""

    def __init__(self, lookups: Lookups, cache: Cache, limits: Limits, rng: Rng) -> None:
        self._lookups = lookups
        self._cache = cache
        self._limits = limits
        self._rng = rng
        self._due: list[tuple[Nanos, int, Closing]] = []
        self._wanted: dict[Closing, int] = {}  # failures in a row
        self._flying: set[Closing] = set()
        self._order = 0
        self._slot = Nanos(0)  # no look-up begins earlier: so many a second, and no more

    def __len__(self) -> int:
        return len(self._wanted)

    def load(self, policy: Policy, now: Nanos) -> list[Effect]:
        """Take the names from a policy; those that were there before keep their time."""
        names = [(role, name) for role, rules in policy.roles.items() for name in rules.keeps]
        kept = names[: self._limits.keeps]
        wanted = [Closing(role, name, qtype) for role, name in kept for qtype in _TYPES]
        new = [item for item in wanted if item not in self._wanted]
        self._wanted = {item: self._wanted.get(item, 0) for item in wanted}
        self._due = sorted(item for item in self._due if item[2] in self._wanted)
        for item in new:
            if item not in self._flying:  # else it comes back by itself
                self._push(now, item)
        left = len(names) - len(kept)
        return [notes.not_kept(HOST, ROOT, left)] if left else []

    def wants(self, item: Closing) -> bool:
        """Whether the policy of now still asks for this look-up."""
        return item in self._wanted

    def next_due(self) -> Nanos | None:
        """When to call `start`; None while nothing can begin."""
        if not self._due or len(self._flying) >= self._limits.keeps_at_once:
            return None
        return max(self._due[0][0], self._slot)

    def start(self, now: Nanos) -> list[Effect]:
        """The look-ups whose time has come."""
        effects: list[Effect] = []
        while (due := self.next_due()) is not None and due <= now:
            item = heappop(self._due)[2]
            if item in self._flying:
                continue
            self._flying.add(item)
            self._slot = Nanos(max(self._slot, now) + SECOND // self._limits.keeps_a_second)
            key = CacheKey(item.role, _question(item), False, RD)
            asked = self._lookups.close_name(key, item.name, item.qtype, now)
            if asked is None:
                self._failed(item, now)
            else:
                effects += asked
        return effects

    def done(
        self, item: Closing, done: Done, policy: Policy, settler: Settler, now: Nanos
    ) -> list[Effect]:
        """An answer, or none: open what it says, as for a client, and come back in time."""
        if item not in self._flying:
            return []
        self._flying.discard(item)
        facts, role = done.facts, policy.roles.get(item.role)
        if facts is None:
            self._failed(item, now)
            return []
        if role is None or not (role.mode is Mode.AUDIT or role.judge(item.name).answered):
            return []
        rule = role.judge(item.name).rule
        self._found(item, facts, rule.ttl if rule else role.ttl, now)
        self._cache.put(done.pending.key, facts, now)
        return settler.settle(done.pending.key, facts, role, (), now) or []

    def _found(self, item: Closing, facts: Facts, ttl: Ttl, now: Nanos) -> None:
        """Again when 15 to 19 twentieths of its time are over: not all names at once."""
        if item not in self._wanted:
            return
        self._wanted[item] = 0
        if facts.negative:
            seconds = max(facts.ttl, _NO_ADDRESS)
        else:
            seconds = max(min(facts.ttl, ttl.max), ttl.min, _LEAST)
        share = 15 + 4 * self._rng.getrandbits(_BITS) / (1 << _BITS)
        self._push(Nanos(now + round(seconds * SECOND * share / 20)), item)

    def _failed(self, item: Closing, now: Nanos) -> None:
        self._flying.discard(item)
        if item in self._wanted:
            fails = self._wanted[item]
            self._wanted[item] = fails + 1
            self._push(Nanos(now + min(_RETRY << min(fails, 16), _RETRY_MAX)), item)

    def _push(self, when: Nanos, item: Closing) -> None:
        self._order += 1
        heappush(self._due, (when, self._order, item))


def _question(item: Closing) -> bytes:
    return item.name + item.qtype.to_bytes(2, "big") + IN.to_bytes(2, "big")
