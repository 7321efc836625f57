"""A list as a rule: what it says of one name competes like a rule that the policy had written."""

from __future__ import annotations

from typing import Any

from dnsfw.model import Name
from dnsfw.policy.lists.columns import TREE, Means
from dnsfw.policy.lists.table import Hit, Table
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.problems import Position
from dnsfw.policy.rule import Rule
from dnsfw.values import dataclass
from dnsfw.wire.name import to_text

# By plain numbers, and with the kind's own text: an enum costs more than the look-up.
_TREE = int(TREE)
_KIND = {
    int(means): (kind, kind.value)
    for means, kind in ((Means.SELF, Kind.EXACT), (Means.BELOW, Kind.BELOW), (TREE, Kind.TREE))
}
__all__ = ["NameList"]

_new = object.__new__


class _Entry(Rule):
    """An entry of a list as a rule, made as far as somebody looks at it.

    A flood asks for names of a list that nobody asked for before. To write out each as a rule
    takes four times as long as to find it, and hardly anybody reads more than its id.
    """

    __slots__ = ("_hit", "_list")

    _hit: Hit
    _list: NameList

    def __getattr__(self, key: str) -> Any:
        """A slot that is still empty: filled with what is the list's, or the entry's own."""
        hit, names = self._hit, self._list
        match key:
            case "what":
                kind, written = _KIND[hit.means & _TREE]
                value: Any = Pattern(kind, hit.suffix, written + to_text(hit.suffix))
            case "text":
                value = f"{names.rule.text}: {self.what.text}"
            case "where":
                value = Position(names.file, hit.line, 1)
            case "listed":
                value = True
            case _:
                value = getattr(names.rule, key)
        object.__setattr__(self, key, value)
        return value


# The frozen class has no setter; its slots have.
_fill_hit, _fill_list = (_Entry.__dict__[slot].__set__ for slot in _Entry.__slots__)


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
        entry = _new(_Entry)
        _fill_hit(entry, hit)
        _fill_list(entry, self)
        return entry
