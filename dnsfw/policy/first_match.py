"""Policies of others that say "the first that matches": what of them the most specific rule keeps.

Where their order and ours differ, the later entry is told apart: either nothing ever reaches it
(then leaving it out changes nothing), or it cannot be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum

from dnsfw.model import PortSet, Verdict
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.prefix import Prefix
from dnsfw.values import dataclass

__all__ = [
    "Entry", "Fate", "Told", "clash", "covers", "overlaps", "settle_order",
    "trimmed",
]  # fmt: skip

_RANK = {Kind.EXACT: 0, Kind.GLOB: 1, Kind.ONE: 2, Kind.BELOW: 3, Kind.TREE: 3}


@dataclass(frozen=True, slots=True)
class Entry:
    """One verdict on one destination."""

    verdict: Verdict
    what: Pattern | Prefix
    ports: PortSet


class Fate(Enum):
    """What becomes of an entry when the most specific rule wins."""

    KEPT = "kept"
    STRICTER = "stricter"  # it refuses more than it did
    NEVER = "never"  # an earlier one decides whatever it matches
    LOST = "lost"  # it would decide where an earlier one should


@dataclass(frozen=True, slots=True)
class Told:
    """The fate of an entry, and the earlier entry (by its number) because of which."""

    fate: Fate
    because: int | None = None


def trimmed(entries: Sequence[Entry]) -> list[Entry]:
    """The entries without the ports that an earlier one of the very same destination takes:
    a policy may not allow and deny one pattern for one port. What has none left stays as it was.
    """
    found: list[Entry] = []
    taken: dict[tuple[Pattern | Prefix, Verdict], PortSet] = {}
    for entry in entries:
        other = Verdict.DENY if entry.verdict is Verdict.ALLOW else Verdict.ALLOW
        left = entry.ports.minus(taken.get((entry.what, other), PortSet()))
        found.append(replace(entry, ports=left) if left else entry)
        mine = (entry.what, entry.verdict)
        taken[mine] = taken.get(mine, PortSet()).union(left)
    return found


def settle_order(entries: Sequence[Entry]) -> list[Told]:
    """The fate of each entry of a first-match list under most-specific-wins."""
    told: list[Told] = []
    standing: dict[Verdict, list[int]] = {Verdict.ALLOW: [], Verdict.DENY: []}
    for at, entry in enumerate(entries):
        other = Verdict.DENY if entry.verdict is Verdict.ALLOW else Verdict.ALLOW
        found = _fate(entries, entry, standing[other])
        told.append(found)
        if found.fate is not Fate.NEVER:
            standing[entry.verdict].append(at)
    return told


def _fate(entries: Sequence[Entry], later: Entry, before: Iterable[int]) -> Told:
    worst = Told(Fate.KEPT)
    for at in before:
        fate = _beside(entries[at], later)
        if fate is Fate.NEVER:
            return Told(fate, at)
        if fate is Fate.LOST or (fate is Fate.STRICTER and worst.fate is Fate.KEPT):
            worst = Told(fate, at)
    return worst


def _beside(earlier: Entry, later: Entry) -> Fate:
    """What an earlier entry of the other verdict does to a later one."""
    first, second = earlier.what, later.what
    if isinstance(first, Prefix) and isinstance(second, Pattern):
        return Fate.KEPT  # an address rule beats names, both ways
    if not overlaps(first, second) or not earlier.ports.intersect(later.ports):
        return Fate.KEPT
    if isinstance(first, Pattern) and isinstance(second, Prefix):
        # The later rule would decide on addresses of the earlier one's names.
        return Fate.STRICTER if later.verdict is Verdict.DENY else Fate.LOST
    if covers(first, second) and not later.ports.minus(earlier.ports):
        return Fate.NEVER
    return Fate.KEPT if first != second and _key(earlier) < _key(later) else Fate.LOST


def clash(entries: Sequence[Entry]) -> list[int | None]:
    """For each entry the earlier one of the other verdict that a first-match list would let
    decide where our order lets the later: None where both orders agree.
    """
    found: list[int | None] = []
    for at, later in enumerate(entries):
        beaten = (n for n, earlier in enumerate(entries[:at]) if _turns(earlier, later))
        found.append(next(beaten, None))
    return found


def _turns(earlier: Entry, later: Entry) -> bool:
    if earlier.verdict is later.verdict or not earlier.ports.intersect(later.ports):
        return False
    if isinstance(earlier.what, Prefix) != isinstance(later.what, Prefix):
        return isinstance(later.what, Prefix)  # an address rule beats names, wherever it stands
    return overlaps(earlier.what, later.what) and _key(earlier) >= _key(later)


def _key(entry: Entry) -> tuple[int, int, int, int]:
    """Sorts as the matcher does, best first; addresses by the length of their prefix."""
    what = entry.what
    if isinstance(what, Prefix):
        return (-what.bits, 0, 0, int(entry.verdict))
    return (-_labels(what.suffix), _RANK[what.kind], -what.literal, int(entry.verdict))


def _labels(name: bytes) -> int:
    count = 0
    while len(name) > 1:
        count, name = count + 1, name[name[0] + 1 :]
    return count


def covers(wide: Pattern | Prefix, narrow: Pattern | Prefix) -> bool:
    """Whether all that the second matches the first matches too (sure where it says so)."""
    if isinstance(wide, Prefix) or isinstance(narrow, Prefix):
        both = isinstance(wide, Prefix) and isinstance(narrow, Prefix)
        return both and wide.holds(narrow)  # type: ignore[union-attr, arg-type]
    at_or_below = _below(narrow.suffix, wide.suffix, strict=False)
    match wide.kind:
        case Kind.EXACT:
            return narrow.kind is Kind.EXACT and narrow.suffix == wide.suffix
        case Kind.TREE:
            return at_or_below
        case Kind.BELOW:
            itself = narrow.kind in (Kind.EXACT, Kind.TREE)
            return _below(narrow.suffix, wide.suffix, strict=True) if itself else at_or_below
        case Kind.ONE | Kind.GLOB:
            return _covers_one(wide, narrow)


def _covers_one(wide: Pattern, narrow: Pattern) -> bool:
    if narrow.kind is Kind.EXACT:
        return _one_below(narrow.suffix, wide)
    if narrow.suffix != wide.suffix or narrow.kind not in (Kind.ONE, Kind.GLOB):
        return False
    if wide.kind is Kind.ONE:
        return True
    inside = narrow.head.startswith(wide.head) and narrow.tail.endswith(wide.tail)
    return narrow.kind is Kind.GLOB and inside


def overlaps(one: Pattern | Prefix, two: Pattern | Prefix) -> bool:
    """Whether something may match both; an address and a name always may."""
    if isinstance(one, Prefix) != isinstance(two, Prefix):
        return True
    if covers(one, two) or covers(two, one):
        return True
    if isinstance(one, Prefix) or isinstance(two, Prefix):
        return False
    for tree, label in ((one, two), (two, one)):
        if tree.kind is Kind.TREE and label.kind in (Kind.ONE, Kind.GLOB):
            return _one_below(tree.suffix, label)
    if one.suffix != two.suffix or {one.kind, two.kind} != {Kind.GLOB}:
        return False
    heads = one.head.startswith(two.head) or two.head.startswith(one.head)
    return heads and (one.tail.endswith(two.tail) or two.tail.endswith(one.tail))


def _one_below(name: bytes, pattern: Pattern) -> bool:
    """Whether this very name fits `+.x` or a glob."""
    cut = name[0] + 1
    if len(name) == 1 or name[cut:] != pattern.suffix:
        return False
    return pattern.kind is Kind.ONE or pattern.globs(name[1:cut])


def _below(name: bytes, suffix: bytes, *, strict: bool) -> bool:
    """Whether a name in wire form lies at (or not) or below a suffix, label by label."""
    rest = name
    while len(rest) > len(suffix):
        rest = rest[rest[0] + 1 :]
    return rest == suffix and not (strict and len(name) == len(suffix))
