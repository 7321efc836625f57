"""What a list says competes with the policy's own rules, by the same order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnsfw.model import Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.lists.columns import TREE, Means, Parsed
from dnsfw.policy.lists.names import NameList
from dnsfw.policy.lists.table import Table, build
from dnsfw.policy.matcher import Matcher
from dnsfw.policy.rule import ListName, Rule
from dnsfw.wire.name import from_text

TCP = 6


def matcher(
    entries: list[tuple[str, int]],
    *own: str,
    default: str = "allow",
    verdict: str = "deny",
    second: list[tuple[str, int]] | None = None,
) -> Matcher:
    """Rules of a policy ("allow x.com") beside one list, or two."""
    lines = [f"version: 1\ndefault: {default}\nrules:"]
    lines += [f'  - {r.split()[0]}: "{r.split()[1]}"' for r in own]
    lines.append(f"  - {verdict}: list.invalid")
    host = compile_text("\n".join(lines)).host
    lists = [
        _list(host.rules[-1], which, name)
        for which, name in ((entries, "ads.txt"), (second, "more.txt"))
        if which is not None
    ]
    return Matcher(host.rules[:-1], host.default, lists)


def _list(base: Rule, entries: list[tuple[str, int]], name: str) -> NameList:
    parsed = Parsed()
    for line, (entry, means) in enumerate(entries, 1):
        parsed.add(entry, means, line)
    table = Table(memoryview(build(parsed, {"exceptions_first": True})))
    text = f"{base.text.split()[0]} list {name}"
    return NameList(replace(base, what=ListName(name), text=text), table, name)


def verdict(found: Matcher, name: str) -> Verdict:
    return found.judge(from_text(name)).share(TCP, 443).verdict


@pytest.mark.parametrize(
    ("own", "name", "expected"),
    [
        ([], "ads.example", Verdict.DENY),
        ([], "x.ads.example", Verdict.DENY),
        ([], "example.org", Verdict.ALLOW),
        (["allow ads.example"], "ads.example", Verdict.ALLOW),
        (["allow ads.example"], "x.ads.example", Verdict.DENY),
        (["allow .ads.example"], "x.ads.example", Verdict.ALLOW),
        (["allow *.example"], "x.ads.example", Verdict.DENY),
        (["allow ok.ads.example"], "ok.ads.example", Verdict.ALLOW),
        (["allow +.ads.example"], "y.ads.example", Verdict.ALLOW),
        (["deny example.org"], "example.org", Verdict.DENY),
    ],
)
def test_the_more_specific_wins_and_of_equals_the_policys_own(
    own: list[str], name: str, expected: Verdict
) -> None:
    assert verdict(matcher([("ads.example", TREE)], *own), name) is expected


def test_the_rule_that_decided_names_the_list_and_its_line() -> None:
    found = matcher([("a.example", Means.SELF), ("ads.example", TREE)])

    rule = found.judge(from_text("x.ads.example")).rule

    assert rule is not None
    assert str(rule.where) == "ads.txt:2:1"
    assert rule.text == "deny list ads.txt: .ads.example"
    assert rule.listed


def test_of_two_lists_that_say_the_opposite_the_denial_wins() -> None:
    found = matcher([("ads.example", TREE)], second=[("ads.example", TREE)])
    allowing = matcher([("ads.example", TREE)], default="deny", verdict="allow")

    assert verdict(found, "ads.example") is Verdict.DENY
    assert verdict(allowing, "x.ads.example") is Verdict.ALLOW
    assert verdict(allowing, "example.org") is Verdict.DENY


def test_an_exception_takes_the_lists_own_denial_back_and_opens_nothing() -> None:
    entries = [("ads.example", int(TREE)), ("ok.ads.example", int(Means.NOT_SELF))]

    assert verdict(matcher(entries), "ok.ads.example") is Verdict.ALLOW
    assert verdict(matcher(entries, default="deny"), "ok.ads.example") is Verdict.DENY
    assert verdict(matcher(entries, "deny .ads.example"), "ok.ads.example") is Verdict.DENY


def test_odd_octets_open_nothing_below_a_listed_name() -> None:
    found = matcher([("ads.example", TREE)], default="deny", verdict="allow")
    odd = from_text("a\\032b.ads.example")

    assert found.judge(odd).share(TCP, 443).verdict is Verdict.DENY


def test_ranked_shows_rules_and_entries_best_first() -> None:
    found = matcher([("ads.example", TREE)], "allow *.example.org", "deny .example.org")

    ranked = found.ranked(from_text("x.ads.example"))

    assert [rule.text for rule in ranked] == ["deny list ads.txt: .ads.example"]


def test_an_entry_is_a_rule_like_any_other_however_late_it_is_looked_at() -> None:
    base = compile_text("version: 1\ndefault: allow\nrules: [{deny: x.invalid, note: n}]").host
    listed = _list(base.rules[0], [("ads.example", TREE)], "ads.txt")

    rule = listed.rule_for(from_text("a.ads.example"))

    assert rule is not None
    assert isinstance(rule, Rule)
    assert (rule.id, rule.note, rule.listed) == (base.rules[0].id, "n", True)
    assert rule.text == "deny list ads.txt: .ads.example"
    assert (rule.where.file, rule.where.line) == ("ads.txt", 1)
    assert replace(rule, note="m").text == rule.text
    assert hash(rule) == hash(listed.rule_for(from_text("ads.example")))
