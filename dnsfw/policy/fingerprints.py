"""What the kernel may refuse by itself: a compiled policy as suffixes, classes and meanings.

`kernel/include/dnsfw/suffix.h` walks a name from the right and lets the deepest suffix decide
that says anything. So every suffix of the role's own rules carries what the matcher itself says
of it, of names one label below and of deeper ones; an entry of a list that has the last word
says its rule; and whatever is not certain says `PASS`: Python decides. A suffix at which lists
make exceptions, and a name that the engine answers by itself, stops the walk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from dnsfw.model import Mode, Name, PortSet, Reason, RoleId, RuleId, Verdict, abi
from dnsfw.policy.buckets import UNIT, Buckets
from dnsfw.policy.listed_prints import MAX_CLASS, PASS, STOP, Listed, Member
from dnsfw.policy.lists.columns import TREE, Means
from dnsfw.policy.lists.names import NameList
from dnsfw.policy.lists.table import Table
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.policy.ports import ANY
from dnsfw.policy.rule import Judgement, Rule
from dnsfw.policy.siphash import hash_name
from dnsfw.values import dataclass
from dnsfw.wire.name import ROOT

__all__ = ["Blame", "Image", "compile_prints", "own_suffixes", "refuses"]

_Outcome = abi.Outcome
_NONE, _PASS, _DEFAULT = int(_Outcome.NONE), int(_Outcome.PASS), int(_Outcome.DEFAULT)
_MEANINGS = UNIT // abi.Meaning.SIZE  # in a unit
_ROLES = int(abi.Limit.MAX_ROLES)
# Labels that no policy and no list names: what is said of them is said of any other.
_FRESH = b"\x18q0-dnsfw-nobody-names-it"
_SILENT = abi.Meaning(_NONE, _NONE, _NONE, 0)
_STOPPED = abi.Meaning(_PASS, _PASS, _PASS, abi.Stop.AT | abi.Stop.BELOW)


@dataclass(frozen=True, slots=True)
class Blame:
    """Why a name is refused: one template of replies."""

    reason: Reason
    rule: Rule | None


def refuses(role: RolePolicy) -> bool:
    """Whether the kernel may refuse names of this role: an audit refuses nothing."""
    return role.mode is Mode.ENFORCE


def own_suffixes(role: RolePolicy) -> dict[Name, bool]:
    """The suffixes of the role's own rules, and whether a glob stands there."""
    found: dict[Name, bool] = {}
    for rule in role.rules + role.implied:
        if isinstance(what := rule.what, Pattern):
            found[what.suffix] = found.get(what.suffix, False) or what.kind is Kind.GLOB
    return found


class Image:
    """A table as it is to lie in the kernel, but for its generation."""

    def __init__(
        self,
        listed: Listed,
        own: Sequence[tuple[tuple[int, int], int]],
        roles: Sequence[RoleId],
        rows: Sequence[bytes],
        blames: Sequence[Blame],
        *,
        zero: bool,
    ) -> None:
        self.blames = tuple(blames)  # the first has the number Outcome.DEFAULT
        self.zero = zero
        self.entries = listed.entries + len(own)
        self._listed = listed
        self._own = own
        self._roles = roles
        self._rows = b"".join(rows)
        self._classes = len(rows)
        self._at_roles = 1 + listed.buckets
        self._at_rows = self._at_roles + int(abi.Suffix.ROLE_UNITS)
        self.units = self._at_rows + -(-len(self._rows) // UNIT)

    def write(self, view: memoryview, generation: int) -> None:
        """Fill `units` units of zeroed memory. buckets.Full."""
        end = UNIT * self._at_roles
        view[UNIT:end] = self._listed.slots.cast("B")
        slots = view[UNIT:end].cast("Q")
        buckets = Buckets(slots, self._listed.buckets)
        for mark, klass in self._own:
            buckets.put(mark, klass)
        slots.release()
        for column, role in enumerate(self._roles, 1):
            view[end + role] = column
        at = UNIT * self._at_rows
        view[at : at + len(self._rows)] = self._rows
        head = abi.SuffixHead(
            *self._listed.key, int(abi.Suffix.VERSION), generation, self._listed.buckets,
            self._at_roles, self._at_rows, len(self._roles), self._classes, int(self.zero),
            self.entries, self._listed.home,
        )  # fmt: skip
        view[:UNIT] = head.pack()


def compile_prints(
    policy: Policy, listed: Listed, tables: Sequence[Table], stops: Iterable[Name]
) -> Image:
    """The image of a policy. `tables` are those of `listed`, in its order; at and below `stops`
    something else than the policy answers.
    """
    roles = [role for role in policy.roles.values() if refuses(role)][:_ROLES]
    blames = _Blames(by_default=policy.dns.refuse == "nxdomain")
    columns = [_Column(role, tables, blames) for role in roles]
    rows = _Rows(len(columns))
    rows.add(b"".join(c.root().pack() for c in columns))
    rows.add(_STOPPED.pack() * len(columns))
    rows.add(abi.Meaning(_PASS, _PASS, _PASS, 0).pack() * len(columns))
    for members in listed.classes[len(rows) :]:
        rows.add(b"".join(c.listed(members).pack() for c in columns))
    own: dict[Name, int] = dict.fromkeys(
        chain.from_iterable(own_suffixes(role) for role in roles), PASS
    )
    own.pop(ROOT, None)  # row 0 says it
    marks = {suffix: hash_name(listed.key, suffix, listed.home) for suffix in own}
    for suffix in own:
        if (found := listed.find(marks[suffix])) == STOP:
            own[suffix] = STOP
            continue
        row = b"".join(c.at(suffix, listed.classes[found]).pack() for c in columns)
        own[suffix] = rows.number(row)
    for stop in stops:
        own[stop] = STOP
        marks[stop] = hash_name(listed.key, stop, listed.home)
    return Image(
        listed, [(marks[suffix], klass) for suffix, klass in own.items()],
        [role.role for role in roles], rows.rows, blames.all, zero=policy.dns.refuse == "zero",
    )  # fmt: skip


class _Rows:
    """Rows of meanings, by class."""

    def __init__(self, columns: int) -> None:
        self.rows: list[bytes] = []
        self._ids: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, row: bytes) -> None:
        # Row 0 is no class: nothing can say what it says by standing somewhere.
        if self.rows:
            self._ids.setdefault(row, len(self.rows))
        self.rows.append(row)

    def number(self, row: bytes) -> int:
        """The class of this row; PASS when there are too many."""
        if row not in self._ids:
            if len(self.rows) > MAX_CLASS:
                return PASS
            self.add(row)
        return self._ids[row]


class _Blames:
    """Templates by number. Two rules that refuse are two templates: the reply names the rule."""

    def __init__(self, *, by_default: bool) -> None:
        self._by_default = by_default
        self.all = [Blame(Reason.NAME_DEFAULT, None), Blame(Reason.BAD_LABEL, None)]
        self._ids: dict[tuple[RuleId, Reason], int] = {}

    def outcome(self, judgement: Judgement) -> int:
        """What the kernel may do where the policy says this."""
        if judgement.answered:
            return _PASS
        rule = judgement.rule
        if rule is None:
            # In another form than NXDOMAIN it depends on what stands in front (engine.search).
            plain = judgement.reason is Reason.NAME_DEFAULT
            return _DEFAULT if plain and self._by_default else _PASS
        return self.of(rule, judgement.reason)

    def of(self, rule: Rule, reason: Reason) -> int:
        if rule.close is not None:  # that it was asked for matters
            return _PASS
        key = (rule.id, reason)
        if key not in self._ids:
            if len(self.all) >= abi.Suffix.TEMPLATES:
                return _PASS
            self._ids[key] = _DEFAULT + len(self.all)
            self.all.append(Blame(reason, rule))
        return self._ids[key]


class _Column:
    """What classes mean to one role."""

    def __init__(self, role: RolePolicy, tables: Sequence[Table], blames: _Blames) -> None:
        self._judge = role.judge
        self._blames = blames
        self._own = own_suffixes(role)
        self._lists: dict[int, list[tuple[int, NameList]]] = {}
        numbers = {table.seal: at for at, table in enumerate(tables)}
        for order, names in enumerate(role.lists):
            self._lists.setdefault(numbers[names.table.seal], []).append((order, names))
        rules = chain(role.rules + role.implied, (names.rule for names in role.lists))
        self._allowed = [rule.ports for rule in rules if rule.verdict is Verdict.ALLOW]
        if role.default is Verdict.ALLOW:
            self._allowed.append(ANY)

    def root(self) -> abi.Meaning:
        """Row 0: of names that no entry speaks for."""
        return self._judged(ROOT, self._own.get(ROOT, False), 0)

    def at(self, suffix: Name, members: tuple[Member, ...]) -> abi.Meaning:
        """Of a suffix that some role's own rules name."""
        meaning = self.listed(members)
        if suffix not in self._own:
            return meaning
        return self._judged(suffix, self._own[suffix], meaning.stop)

    def listed(self, members: tuple[Member, ...]) -> abi.Meaning:
        """Of names that stand in these lists, and in no own rule."""
        mine = [
            (order, names, means)
            for number, means in members
            for order, names in self._lists.get(number, ())
        ]
        if not mine:
            return _SILENT
        meant = 0
        for _, _, means in mine:
            meant |= means
        stop = (abi.Stop.AT if meant & Means.NOT_SELF else 0) | (
            abi.Stop.BELOW if meant & Means.NOT_BELOW else 0
        )
        below = self._best(mine, Means.BELOW)
        return abi.Meaning(self._best(mine, Means.SELF), below, below, int(stop))

    def _best(self, mine: Iterable[tuple[int, NameList, int]], where: Means) -> int:
        """By `matcher.rank`: exact, then deny, then the list that stands first."""
        speaking = sorted(
            (means & TREE != Means.SELF, int(names.rule.verdict), order)
            for order, names, means in mine
            if means & where
        )
        if not speaking:
            return _NONE
        best = speaking[0][2]
        rule = next(names.rule for order, names, _ in mine if order == best)
        if rule.verdict is Verdict.ALLOW or not self._shuts(rule.ports):
            return _PASS
        return self._blames.of(rule, Reason.BY_NAME)

    def _shuts(self, ports: PortSet) -> bool:
        """Whether nothing is left for rules that a rule with these ports beats."""
        return not any(allowed.minus(ports) for allowed in self._allowed)

    def _judged(self, suffix: Name, globs: bool, stop: int) -> abi.Meaning:
        one = Name(_FRESH + suffix)
        deep = Name(_FRESH + one)
        outcome = self._blames.outcome
        return abi.Meaning(
            outcome(self._judge(suffix)),
            _PASS if globs else outcome(self._judge(one)),
            outcome(self._judge(deep)),
            stop,
        )
