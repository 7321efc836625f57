from __future__ import annotations

import pytest

from dnsfw.model import Reason
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import ANY
from dnsfw.policy.rule import Share
from dnsfw.policy.why import why_lost, why_silent
from dnsfw.wire.name import from_text


def role(*rules: str) -> RolePolicy:
    lines = ["version: 1\ndefault: deny\nrules:"]
    lines += [f'  - {rule.split()[0]}: "{rule.split()[1]}"' for rule in rules]
    return compile_text("\n".join(lines)).host


@pytest.mark.parametrize(
    ("winner", "loser", "why"),
    [
        ("allow x.com", "deny .x.com", "an exact name beats every wildcard"),
        ("allow *.a.x.com", "deny *.x.com", "the longer suffix wins: a.x.com over x.com"),
        ("allow a*.x.com", "deny +.x.com", "at equal suffix a glob beats '+.'"),
        ("allow +.x.com", "deny *.x.com", "at equal suffix '+.' beats '*.'"),
        ("allow a*.x.com", "deny .x.com", "at equal suffix a glob beats '.'"),
        ("allow ab*.x.com", "deny a*.x.com", "of two globs the one with more literal characters"),
        ("deny .x.com", "allow *.x.com", "they are equally specific, and deny wins a tie"),
        ("allow x.com:443", "allow x.com", "they say the same of it, and the first in the file"),
        ("deny 10.1.0.0/16", "allow 10.0.0.0/8", "the longer prefix wins: 10.1.0.0/16 lies inside"),
        ("deny 10.1.0.0/16", "allow x.com", "an address rule beats names"),
    ],
)
def test_each_step_of_precedence_has_its_sentence(winner: str, loser: str, why: str) -> None:
    first, second = role(winner, loser).rules

    said = why_lost(Share(first.ports, first.verdict, first, Reason.BY_NAME), second)

    assert said.startswith(why)


@pytest.mark.parametrize(
    ("rule", "name", "why"),
    [
        ("allow x.com", "a.x.com", "it names x.com alone; '.x.com' would be it and all below"),
        ("allow *.x.com", "x.com", "it is for names below x.com"),
        ("allow +.x.com", "a.b.x.com", "it is for exactly one label below x.com"),
        ("allow a*.x.com", "b.ab.x.com", "its star stands inside one label below x.com"),
        ("allow a*.x.com", "ba.x.com", "the label 'ba' does not fit it"),
        ("allow x.com/sctp", "x.com", "it speaks for sctp only"),
        ("allow x.com", "evilx.com", None),
        ("allow x.com", "y.com", None),
        ("allow 10.0.0.0/8", "x.com", None),
    ],
)
def test_a_rule_that_looks_near_says_why_it_is_silent(
    rule: str, name: str, why: str | None
) -> None:
    said = why_silent(role(rule).rules[0], from_text(name), ANY)

    assert (said or "").startswith(why or "")
    assert (said is None) == (why is None)
