"""A list as a rule: what it says of one name competes like a rule that the policy had written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dnsfw.model import Name
from dnsfw.policy.lists.columns import TREE, Means
from dnsfw.policy.lists.table import Hit, Table
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.problems import Position
from dnsfw.policy.rule import Rule
from dnsfw.wire.name import to_text

# By plain numbers, and with the kind's own text: an enum costs more than the look-up.
_TREE = int(TREE)
_KIND = {
    int(means): (kind, kind.value)
    for means, kind in ((Means.SELF, Kind.EXACT), (Means.BELOW, Kind.BELOW), (TREE, Kind.TREE))
}
_OWN = frozenset({"what", "text", "where", "listed"})  # of a rule: what an entry has for itself

__all__ = ["NameList"]


@dataclass(frozen=True, slots=True)
class NameList:
    """A compiled list and the rule (verdict, ports, id) that it stands for."""

    rule: Rule
    table: Table
    file: str
    prefixes: tuple[Rule, ...] = ()  # its addresses, with the rule's own id
    _same: Mapping[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # `replace` finds this out anew for every entry, which takes longer than the entry.
        same = {f.name: getattr(self.rule, f.name) for f in fields(Rule) if f.name not in _OWN}
        object.__setattr__(self, "_same", same)

    def rule_for(self, name: Name) -> Rule | None:
        """The list's entry for a name, as a rule with its place in the list; None: silent."""
        hit = self.table.find(name)
        return None if hit is None else self.rule_of(hit)

    def rule_of(self, hit: Hit) -> Rule:
        """The entry as a rule of the policy."""
        kind, written = _KIND[hit.means & _TREE]
        pattern = Pattern(kind, hit.suffix, written + to_text(hit.suffix))
        return Rule(
            what=pattern,
            text=f"{self.rule.text}: {pattern.text}",
            where=Position(self.file, hit.line, 1),
            listed=True,
            **self._same,
        )
