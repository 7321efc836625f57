"""A temporary rule is compiled as every other, or refused in the same words."""

from __future__ import annotations

from dnsfw.model import RoleId, RuleId, Verdict
from dnsfw.policy.rule import Rule, Ttl
from dnsfw.policy.temporary import Wanted
from dnsfw.policy.temporary_rule import make_rules


def wanted(to: str, word: str = "allow") -> Wanted:
    return Wanted(word, to, RoleId(1), "host for a time", Verdict.DENY, Ttl())


def test_each_is_a_rule_or_says_why_not() -> None:
    good, bad, word, broad = make_rules(
        [wanted("a.example:443"), wanted("a..b"), wanted("metadata", "deny"), wanted("*.co.uk")],
        frozenset(),
    )

    assert isinstance(good, Rule) and good.text == "allow a.example:443"
    assert isinstance(bad, str) and "a..b" in bad
    assert word == "'metadata' is a word of policy files; name one"
    assert isinstance(broad, str) and "anybody can register" in broad


def test_no_id_is_given_twice() -> None:
    (alone,) = make_rules([wanted("a.example")], frozenset())
    assert isinstance(alone, Rule)

    first, second = make_rules([wanted("a.example")] * 2, frozenset({alone.id}))

    assert isinstance(first, Rule) and isinstance(second, Rule)
    assert len({alone.id, first.id, second.id}) == 3
    assert RuleId(first.id) != alone.id
