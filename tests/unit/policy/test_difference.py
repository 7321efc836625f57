from __future__ import annotations

from dnsfw.policy.compile import compile_text
from dnsfw.policy.difference import diff


def lines(old: str, new: str) -> list[str]:
    return diff(compile_text("version: 1\n" + old), compile_text("version: 1\n" + new))


def test_the_same_policy_differs_in_nothing() -> None:
    text = "default: deny\nrules: [allow: x.com]"

    assert lines(text, text) == []
    assert lines(text, "default: deny\nrules: [{allow: [X.com.]}]") == []


def test_rules_come_and_go() -> None:
    found = lines("default: deny\nrules: [allow: a.com]", "default: deny\nrules: [deny: a.com]")

    assert found == ["- allow a.com", "+ deny a.com"]


def test_options_of_a_rule_change() -> None:
    found = lines(
        "default: deny\nrules: [allow: a.com]",
        "default: deny\nrules: [{allow: a.com, private: true, ttl: {grace: 60s}}]",
    )

    assert found == ["~ allow a.com (private, ttl.grace 10s -> 60s)"]


def test_settings_change() -> None:
    found = lines(
        "default: deny",
        "default: allow\nmode: audit\ndns: {refuse: zero, upstreams: [9.9.9.9]}",
    )

    assert found == [
        "~ default: deny -> allow",
        "~ mode: enforce -> audit",
        "~ deny metadata: true -> false",
        "~ dns.upstreams: system -> 9.9.9.9:53",
        "~ dns.refuse: nxdomain -> zero",
    ]
