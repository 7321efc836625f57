"""Which rules speak for a name, and which of them wins: the hot path.

Everything is settled when the policy is compiled. At a query it is a few look-ups of wire
suffixes, so a label that contains a dot can never pass for two labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dnsfw.model import Name, Reason, Verdict
from dnsfw.policy.lists.names import NameList
from dnsfw.policy.lists.table import Hit
from dnsfw.policy.pattern import MAX_LABEL, Kind, Pattern
from dnsfw.policy.ports import KNOWN, chunks, take
from dnsfw.policy.rule import Judgement, Rule, Share

# Labels of letters, digits, - and _ in wire form: a length octet says how many must follow, so
# no octet can pass for a length. In C, because a name has more labels than a microsecond has.
_ORDINARY = re.compile(
    b"(?:"
    + b"|".join(re.escape(bytes((n,))) + b"[a-z0-9_-]{%d}" % n for n in range(1, MAX_LABEL + 1))
    + b")*+"
).fullmatch
_KINDS = {Kind.EXACT: 0, Kind.GLOB: 1, Kind.ONE: 2, Kind.BELOW: 3, Kind.TREE: 3}
# Combinations of globs at one suffix, entries of one list: names are the client's to invent.
_MAX_REMEMBERED = 1024
_MADE = frozenset({"_finders", "_last"})


_new = tuple.__new__  # of a named tuple, without the call in between


class _OneBelow:
    """The rules one label below a suffix, when globs or `+.` are among them."""

    __slots__ = ("_default", "_globs", "_plain", "_remembered", "_rest")

    def __init__(self, globs: list[Rule], plain: list[Rule], default: Verdict) -> None:
        whats = [_pattern(rule) for rule in globs]
        self._globs = [
            (1 << at, what.literal, what.head, what.tail, rule)
            for at, (what, rule) in enumerate(zip(whats, globs, strict=True))
        ]
        self._plain = plain
        self._default = default
        self._remembered: dict[int, Judgement] = {}
        self._rest = settle(plain, default) if plain else None

    def __getstate__(self) -> tuple[Any, ...]:
        return self._globs, self._plain, self._default, self._rest

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._globs, self._plain, self._default, self._rest = state
        self._remembered = {}

    def judge(self, label: bytes) -> Judgement | None:
        """The judgement where a glob fits, else that of the other rules (None: there are none)."""
        fitting = 0
        for bit, literal, head, tail, _ in self._globs:
            if len(label) > literal and label.startswith(head) and label.endswith(tail):
                fitting |= bit
        if not fitting:
            return self._rest
        found = self._remembered.get(fitting)
        if found is None:
            rules = [rule for bit, *_, rule in self._globs if bit & fitting]
            found = settle(rules + self._plain, self._default)
            if len(self._remembered) < _MAX_REMEMBERED:
                self._remembered[fitting] = found
        return found


class _Alone:
    """What one list says where nobody else speaks: the same ports for each of its entries."""

    __slots__ = ("_default", "_names", "_remembered", "_shape")

    def __init__(self, names: NameList, default: Verdict) -> None:
        self._names = names
        self._default = default
        # Of any entry: its shares, which of them are the entry's own, the answer, the best one.
        self._shape: tuple[list[Share], list[int], bool, int] | None = None
        self._remembered: dict[bytes, Judgement] = {}

    def __getstate__(self) -> tuple[NameList, Verdict]:
        return self._names, self._default

    def __setstate__(self, state: tuple[NameList, Verdict]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def judge(self, hit: Hit) -> Judgement:
        found = self._remembered.get(hit.suffix)
        if found is None:
            found = self._made(self._names.rule_of(hit))
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()  # what is asked often is soon back
            self._remembered[hit.suffix] = found
        return found

    def _made(self, rule: Rule) -> Judgement:
        if self._shape is None:
            first = settle([rule], self._default)
            own = [at for at, share in enumerate(first.shares) if share.rule is not None]
            best = first.shares.index(first.best)
            self._shape = list(first.shares), own, first.answered, best
        shape, own, answered, best = self._shape
        shares = shape.copy()
        for at in own:
            ports, verdict, _, reason = shape[at]
            shares[at] = _new(Share, (ports, verdict, rule, reason))
        return _new(Judgement, (tuple(shares), answered, shares[best]))


class Matcher:
    """Judges names against the name rules of one role.

    What a name meets depends only on the deepest suffix that has rules and on how far
    below it the name lies: at it, one label below, or deeper. So there are three tables.
    """

    __slots__ = (
        "_alone", "_at", "_below", "_by_suffix", "_default", "_finders", "_last", "_lists",
        "_one", "_refuse_odd", "_verdict", "rules",
    )  # fmt: skip

    def __init__(
        self, rules: Iterable[Rule], default: Verdict, lists: Iterable[NameList] = ()
    ) -> None:
        self.rules = tuple(rule for rule in rules if isinstance(rule.what, Pattern))
        self._refuse_odd = default is Verdict.DENY
        self._default = settle([], default)
        self._last: tuple[Name | None, Judgement] = (None, self._default)
        self._verdict = default
        self._lists = tuple(lists)
        self._finders = tuple(names.table.find for names in self._lists)
        self._alone = tuple(_Alone(names, default) for names in self._lists)
        self._by_suffix = by_suffix = _by_suffix(self.rules)
        self._at: dict[bytes, Judgement] = {}
        self._one: dict[bytes, _OneBelow] = {}
        self._below: dict[bytes, Judgement] = {}
        for suffix, here in by_suffix.items():
            deep = list(_deep(suffix, by_suffix))
            globs = [rule for rule in here if _pattern(rule).kind is Kind.GLOB]
            ones = [rule for rule in here if _pattern(rule).kind is Kind.ONE]
            if any(_pattern(rule).kind in (Kind.BELOW, Kind.TREE) for rule in here):
                self._below[suffix] = settle(deep, default)
            if globs or ones:
                self._one[suffix] = _OneBelow(globs, ones + deep, default)
            if any(_pattern(rule).kind in (Kind.EXACT, Kind.TREE) for rule in here):
                self._at[suffix] = settle(list(_speaking(suffix, by_suffix)), default)

    def __getstate__(self) -> dict[str, Any]:
        """All but what was made of its parts, and what was asked last."""
        return {key: getattr(self, key) for key in self.__slots__ if key not in _MADE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            setattr(self, key, value)
        self._finders = tuple(names.table.find for names in self._lists)
        self._last = (None, self._default)

    def judge(self, name: Name) -> Judgement:
        """What rules and lists say of a name in wire form. Never raises for a canonical name."""
        last = self._last
        if last[0] is name:  # every stage of a look-up asks for itself
            return last[1]
        found = self._judge(name) if self._finders else self._judge_ruled(name)
        self._last = (name, found)
        return found

    def _judge(self, name: Name) -> Judgement:
        for at, find in enumerate(self._finders):
            hit = find(name)
            if hit is not None:
                return self._judge_listed(name, at, hit)
        return self._judge_ruled(name)

    def _judge_listed(self, name: Name, at: int, hit: Hit) -> Judgement:
        """Entries of lists compete with the rules, by the same order. `hit`: of the first list
        that speaks, which nearly always is the only one to say anything of the name.
        """
        alone = self._judge_ruled(name) is self._default
        if alone and (
            at + 1 == len(self._finders) or not any(f(name) for f in self._finders[at + 1 :])
        ):
            return self._alone[at].judge(hit)
        found = settle(list(self._matching(name)), self._verdict)
        if self._refuse_odd and not _ORDINARY(name, 0, len(name) - 1):
            return _without_leave(found)
        return found

    def _matching(self, name: Name) -> Iterator[Rule]:
        yield from _speaking(name, self._by_suffix)
        for names in self._lists:
            if (rule := names.rule_for(name)) is not None:
                yield rule

    def _judge_ruled(self, name: Name) -> Judgement:
        found = self._at.get(name)
        if found is not None:
            return found
        cut = name[0] + 1
        rest: bytes = name[cut:]
        one = self._one.get(rest)
        if one is not None:
            found = one.judge(name[1:cut])
        if found is None:
            below = self._below
            while rest:
                found = below.get(rest)
                if found is not None:
                    break
                rest = rest[rest[0] + 1 :]
            else:
                found = self._default
        # Only labels in front of a policy's own suffix can be odd.
        if self._refuse_odd and not _ORDINARY(name, 0, len(name) - (len(rest) or 1)):
            return _without_leave(found)
        return found

    def ranked(self, name: Name) -> list[Rule]:
        """Every rule that matches a name, best first: for people, not for the hot path."""
        return sorted(self._matching(name), key=rank)


def rank(rule: Rule) -> tuple[int, int, int, bool, bool, int]:
    """Sorts rules that match one name, best first: exact (its suffix is the whole name), the
    longer literal suffix, glob before `+.` before `*.` and `.`, the glob with more literal
    characters, a temporary rule, what the policy says before what a list says, deny.
    """
    what = _pattern(rule)
    return (
        -_count(what.suffix), _KINDS[what.kind], -what.literal, rule.until is None, rule.listed,
        int(rule.verdict),
    )  # fmt: skip


def settle(matching: Sequence[Rule], default: Verdict) -> Judgement:
    """Give every port to the best rule that covers it, and what is left to the default."""
    left = KNOWN
    shares: list[Share] = []
    for rule in sorted(matching, key=rank):  # stable: of equals the first in the file
        mine, left = take(rule.ports, left)
        shares += [Share(ports, rule.verdict, rule, Reason.BY_NAME) for ports in chunks(mine)]
    shares += [Share(ports, default, None, Reason.NAME_DEFAULT) for ports in chunks(left)]
    return Judgement.of(tuple(shares))


def _without_leave(found: Judgement) -> Judgement:
    """What is left for a name with odd octets: nothing is allowed, but what a rule denies it
    still denies by itself, which is what stops an answer whose CNAME chain leads there.
    """
    denied = [s for s in found.shares if s.rule is not None and s.verdict is Verdict.DENY]
    left = KNOWN
    for share in denied:
        left = left.minus(share.ports)
    odd = [Share(ports, Verdict.DENY, None, Reason.BAD_LABEL) for ports in chunks(left)]
    return Judgement.of((*denied, *odd))


def _by_suffix(rules: Iterable[Rule]) -> dict[Name, list[Rule]]:
    found: dict[Name, list[Rule]] = {}
    for rule in rules:
        found.setdefault(_pattern(rule).suffix, []).append(rule)
    return found


def _pattern(rule: Rule) -> Pattern:
    assert isinstance(rule.what, Pattern)
    return rule.what


def _suffixes(name: bytes) -> Iterator[bytes]:
    """The name and every suffix of it, down to the root."""
    while name:
        yield name
        name = name[name[0] + 1 :] if name[0] else b""


def _count(name: bytes) -> int:
    return sum(1 for _ in _suffixes(name))


def _deep(suffix: bytes, by_suffix: dict[Name, list[Rule]]) -> Iterator[Rule]:
    """The rules that match whatever lies two labels or more below the suffix."""
    for part in _suffixes(suffix):
        for rule in by_suffix.get(Name(part), ()):
            if _pattern(rule).kind in (Kind.BELOW, Kind.TREE):
                yield rule


def _speaking(name: bytes, by_suffix: dict[Name, list[Rule]]) -> Iterator[Rule]:
    """Every rule that matches the name."""
    label = name[1 : name[0] + 1]
    for depth, part in enumerate(_suffixes(name)):
        for rule in by_suffix.get(Name(part), ()):
            what = _pattern(rule)
            match what.kind:
                case Kind.EXACT:
                    matches = depth == 0
                case Kind.TREE:
                    matches = True
                case Kind.BELOW:
                    matches = depth >= 1
                case Kind.ONE:
                    matches = depth == 1
                case Kind.GLOB:
                    matches = depth == 1 and what.globs(label)
            if matches:
                yield rule
