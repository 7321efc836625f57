"""Rules that contradict each other, and rules that can never decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from dnsfw.model import Name, RuleId, Verdict
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import describe
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Problems
from dnsfw.policy.rule import Rule


def find_conflicts(rules: Sequence[Rule], problems: Problems) -> None:
    """The same pattern in allow and deny, for ports that both cover: an error."""
    for same in _by_what(rules).values():
        for at, rule in enumerate(same):
            for earlier in same[:at]:
                both = rule.ports.intersect(earlier.ports)
                if rule.verdict is not earlier.verdict and both:
                    problems.error(
                        rule.where,
                        f"'{rule.text}' contradicts '{earlier.text}' in line "
                        f"{earlier.where.line} for {describe(both)}",
                        "keep one, or give them different ports",
                    )
                    break


def find_warnings(role: RolePolicy, problems: Problems) -> None:
    """Rules that never decide, and denials that swallow more than people expect."""
    shadows = {**_name_shadows(role.rules), **_prefix_shadows(role.rules)}
    for rule in role.rules:
        if over := shadows.get(rule.id):
            first = ", ".join(f"'{r.text}' (line {r.where.line})" for r in over[:3])
            more = f" and {len(over) - 3} more" if len(over) > 3 else ""
            problems.warn(rule.where, f"'{rule.text}' never decides: {first}{more} wins")
        elif rule.verdict is Verdict.DENY:
            _warn_of_all(rule, role, problems)


def _warn_of_all(rule: Rule, role: RolePolicy, problems: Problems) -> None:
    what = rule.what
    if isinstance(what, Prefix) and rule.refuses_all:
        family = "IPv4" if what.v4 else "IPv6"
        problems.warn(
            rule.where,
            f"'{rule.text}' refuses every {family} address, those of allowed names too",
            "for what no rule names there is 'default: deny'",
        )
    if isinstance(what, Pattern) and what.text == "*":
        remedy = "it is not needed" if role.default is Verdict.DENY else "write 'default: deny'"
        problems.warn(
            rule.where, f"'{rule.text}' refuses every name that no other rule names", remedy
        )


def _by_what(rules: Iterable[Rule]) -> dict[object, list[Rule]]:
    same: dict[object, list[Rule]] = defaultdict(list)
    for rule in rules:
        same[rule.what].append(rule)
    return same


def _name_shadows(rules: Iterable[Rule]) -> dict[RuleId, list[Rule]]:
    """For each name rule that never decides, the rules that take its ports from it.

    Only rules with the same suffix can match all that a rule matches and outrank it.
    """
    by_suffix: dict[Name, list[Rule]] = defaultdict(list)
    for rule in rules:
        if isinstance(rule.what, Pattern):
            by_suffix[rule.what.suffix].append(rule)
    found: dict[RuleId, list[Rule]] = {}
    for same in by_suffix.values():
        for at, rule in enumerate(same if len(same) > 1 else ()):
            first = [
                other
                for place, other in enumerate(same)
                if (other.verdict, place) < (rule.verdict, at)
            ]
            if over := _pattern_shadows(rule, first, same):
                found[rule.id] = over
    return found


def _pattern_shadows(rule: Rule, first: list[Rule], same: list[Rule]) -> list[Rule]:
    what = rule.what
    assert isinstance(what, Pattern)
    twins = [other for other in first if other.what == what]
    if what.kind not in (Kind.BELOW, Kind.TREE):
        return _covering(rule, twins)
    below = [o for o in first if _kind(o) in (Kind.BELOW, Kind.TREE)]
    over_below = _covering(rule, below)
    if what.kind is Kind.BELOW or not over_below:
        return over_below
    apex = [o for o in same if _kind(o) is Kind.EXACT] + twins
    over_apex = _covering(rule, apex)
    return [*over_below, *(o for o in over_apex if o not in over_below)] if over_apex else []


def _covering(rule: Rule, others: Iterable[Rule]) -> list[Rule]:
    """Those of the others that together take every port of the rule; none if some is left."""
    left, used = rule.ports, []
    for other in others:
        if left.intersect(other.ports):
            used.append(other)
            left = left.minus(other.ports)
    return [] if left else used


def _kind(rule: Rule) -> Kind | None:
    return rule.what.kind if isinstance(rule.what, Pattern) else None


def _prefix_shadows(rules: Iterable[Rule]) -> dict[RuleId, list[Rule]]:
    """For each address rule that never decides: a twin that wins, or longer prefixes that
    together fill it.
    """
    listed = [rule for rule in rules if isinstance(rule.what, Prefix)]
    by_prefix = _by_what(listed)
    lengths = sorted({_prefix(rule).bits for rule in listed})
    inside: dict[object, list[Rule]] = defaultdict(list)
    for rule in listed:
        for bits in lengths:
            outer = _prefix(rule).shortened(bits)
            if outer and outer in by_prefix and outer != rule.what:
                inside[outer].append(rule)
    found: dict[RuleId, list[Rule]] = {}
    for what, same in by_prefix.items():
        for at, rule in enumerate(same):
            twins = sorted(
                (o for n, o in enumerate(same) if (o.verdict, n) < (rule.verdict, at)),
                key=lambda o: o.verdict,
            )
            if over := _covering(rule, twins) or _filling(rule, inside[what]):
                found[rule.id] = over
    return found


def _filling(rule: Rule, inside: list[Rule]) -> list[Rule]:
    """Longer prefixes that fill the rule's prefix, each taking all of its ports."""
    whole = [other for other in inside if not rule.ports.minus(other.ports)]
    numbers = sorted(_prefix(other).span for other in whole)
    reached, end = _prefix(rule).span
    for low, high in numbers:
        if low > reached:
            return []
        reached = max(reached, high)
    return whole if reached >= end else []


def _prefix(rule: Rule) -> Prefix:
    assert isinstance(rule.what, Prefix)
    return rule.what
