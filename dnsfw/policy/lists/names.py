"""A list as a rule: what it says of one name competes like a rule that the policy had written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dnsfw.model import Name
from dnsfw.policy.lists.columns import TREE, Means
from dnsfw.policy.lists.table import Hit, Table
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.problems import Position
from dnsfw.policy.rule import Rule
from dnsfw.wire.name import to_text

_KIND = {Means.SELF: Kind.EXACT, Means.BELOW: Kind.BELOW, TREE: Kind.TREE}

__all__ = ["NameList"]


@dataclass(frozen=True, slots=True)
class NameList:
    """A compiled list and the rule (verdict, ports, id) that it stands for."""

    rule: Rule
    table: Table
    file: str
    prefixes: tuple[Rule, ...] = ()  # its addresses, with the rule's own id

    def rule_for(self, name: Name) -> Rule | None:
        """The list's entry for a name, as a rule with its place in the list; None: silent."""
        hit = self.table.find(name)
        return None if hit is None else self.rule_of(hit)

    def rule_of(self, hit: Hit) -> Rule:
        """The entry as a rule of the policy."""
        text = to_text(hit.suffix)
        kind = _KIND[hit.means & TREE]
        pattern = Pattern(kind, hit.suffix, kind.value + text)
        return replace(
            self.rule,
            what=pattern,
            text=f"{self.rule.text}: {pattern.text}",
            where=Position(self.file, hit.line, 1),
            listed=True,
        )
