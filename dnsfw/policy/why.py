"""The sentences of `explain`: why a rule lost, and why a rule that looks right does not match."""

from __future__ import annotations

from dnsfw.model import Name, PortSet, Reason
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.ports import describe
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.rule import Rule, Share
from dnsfw.wire.name import is_below, labels, to_text

_KIND_WORDS = {
    Kind.GLOB: "a glob",
    Kind.ONE: "'+.'",
    Kind.BELOW: "'*.'",
    Kind.TREE: "'.'",
}


def why_lost(winner: Share, loser: Rule) -> str:
    """Why this rule, which covers the destination too, did not decide."""
    rule = winner.rule
    if winner.reason is Reason.BUILTIN:
        return "a built-in deny yields only to a prefix inside it"
    if winner.reason is Reason.BAD_LABEL:
        return "under default: deny a label holds letters, digits, - and _ only"
    if rule is None:
        return f"it speaks for {describe(loser.ports)} only"
    if isinstance(rule.what, Prefix) and isinstance(loser.what, Prefix):
        return _prefix_lost(rule, loser, rule.what, loser.what)
    if isinstance(rule.what, Pattern) and isinstance(loser.what, Pattern):
        return _pattern_lost(rule, loser, rule.what, loser.what)
    return "an address rule beats names"


def _prefix_lost(rule: Rule, loser: Rule, won: Prefix, lost: Prefix) -> str:
    if won.bits != lost.bits:
        return f"the longer prefix wins: {won.text} lies inside {lost.text}"
    return _tie(rule, loser)


def _pattern_lost(rule: Rule, loser: Rule, won: Pattern, lost: Pattern) -> str:
    if won.kind is not lost.kind and Kind.EXACT in (won.kind, lost.kind):
        return "an exact name beats every wildcard"
    if won.suffix != lost.suffix:
        longer, shorter = to_text(won.suffix), to_text(lost.suffix)
        return f"the longer suffix wins: {longer} over {shorter}"
    if won.kind is not lost.kind and {won.kind, lost.kind} != {Kind.BELOW, Kind.TREE}:
        return f"at equal suffix {_KIND_WORDS[won.kind]} beats {_KIND_WORDS[lost.kind]}"
    if won.literal != lost.literal:
        return "of two globs the one with more literal characters wins"
    return _tie(rule, loser)


def _tie(rule: Rule, loser: Rule) -> str:
    if rule.until is not None and loser.until is None:
        return "they are equally specific, and a temporary rule wins a tie"
    if rule.verdict is not loser.verdict:
        return "they are equally specific, and deny wins a tie"
    return "they say the same of it, and the first in the file counts"


def why_silent(rule: Rule, name: Name, ports: PortSet) -> str | None:
    """Why a rule that looks as if it named the name does not speak; None if it is not near."""
    what = rule.what
    if not isinstance(what, Pattern):
        return None
    if name != what.suffix and not is_below(name, what.suffix):
        return None
    apex = to_text(what.suffix)
    depth = len(labels(name)) - len(labels(what.suffix))
    match what.kind:
        case Kind.EXACT if depth:
            return f"it names {apex} alone; '.{apex}' would be it and all below"
        case Kind.BELOW if not depth:
            return f"it is for names below {apex}; '.{apex}' would be it and all below"
        case Kind.ONE if depth != 1:
            return f"it is for exactly one label below {apex}"
        case Kind.GLOB if depth != 1:
            return f"its star stands inside one label below {apex}"
        case Kind.GLOB if not what.globs(labels(name)[0]):
            return f"the label '{to_text(Name(name[: name[0] + 1] + bytes(1)))}' does not fit it"
    if not rule.ports.intersect(ports):
        return f"it speaks for {describe(rule.ports)} only"
    return None
