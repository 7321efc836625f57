"""How many addresses the names of one rule may hold at once: a cap for each rule.

A name with thousands of rotating addresses, or a wildcard with random names below it, fills
its own rule's room and no other's. What lives never makes room (promise 2): the caller
sweeps the expired away, and leaves a new address out of the answer where that was not enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from dnsfw.engine.places import Place
from dnsfw.model import DEFAULT_RULE, RoleId, RuleId
from dnsfw.policy.policy import Policy

__all__ = ["RuleRoom", "caps_of"]


def caps_of(policy: Policy) -> dict[tuple[RoleId, RuleId], int]:
    """The caps that rules name themselves."""
    return {
        (number, rule.id): rule.addresses
        for number, role in policy.roles.items()
        for rule in role.rules
        if rule.addresses is not None
    }


class RuleRoom:
    """Counts the addresses of each rule. What only a default opens has no cap."""

    __slots__ = ("_caps", "_default", "_held")

    def __init__(self, default: int) -> None:
        self._default = default
        self._caps: Mapping[tuple[RoleId, RuleId], int] = {}
        self._held: Counter[tuple[RoleId, RuleId]] = Counter()

    def take_caps(self, caps: Mapping[tuple[RoleId, RuleId], int]) -> None:
        """The caps of the policy of now; every other rule has the default one. A cap below
        what is held takes nothing away: nothing new comes until enough has expired.
        """
        self._caps = caps

    def full(self, role: RoleId, rule: RuleId, more: int = 1) -> bool:
        """Whether so many addresses more would be too many."""
        if rule == DEFAULT_RULE:
            return False
        key = (role, rule)
        return self._held[key] + more > self._caps.get(key, self._default)

    def enter(self, role: RoleId, rule: RuleId) -> None:
        """A new place, that one rule opens."""
        self._held[role, rule] += 1

    def take(self, role: RoleId, rule: RuleId, more: int) -> bool:
        """Enter so many, unless that would be too many."""
        key = (role, rule)
        held = self._held[key] + more
        if held > self._caps.get(key, self._default) and rule != DEFAULT_RULE:
            return False
        self._held[key] = held
        return True

    def leave(self, role: RoleId, rule: RuleId) -> None:
        """It is gone."""
        self._held[role, rule] -= 1
        if not self._held[role, rule]:
            del self._held[role, rule]

    def recount(self, role: RoleId, place: Place) -> None:
        """Somebody came to a place, or went: count it for the rules that open it now."""
        rules = place.opening_rules()
        if rules == place.opened_by:
            return
        for rule in rules:
            self._held[role, rule] += 1
        for rule in place.opened_by:
            self._held[role, rule] -= 1
            if not self._held[role, rule]:
                del self._held[role, rule]
        place.opened_by = rules

    def of(self, role: RoleId, rule: RuleId) -> int:
        """How many addresses a rule holds; those that have expired until the next sweep."""
        return self._held[role, rule]
