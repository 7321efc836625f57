"""Patterns, prefixes and ports of Cilium, one by one."""

from __future__ import annotations

import pytest

from dnsfw.policy.importers.cilium_peers import patterns_of, ports_of, prefixes_of
from dnsfw.policy.importers.outcome import Finding, Section
from dnsfw.policy.ports import ANY
from dnsfw.policy.problems import Problems, Wrong
from dnsfw.policy.syntax_yaml import read_document


def section(text: str) -> tuple[Section, list[Finding]]:
    problems, findings = Problems(), list[Finding]()
    document = read_document(text, "f", problems)
    assert document is not None
    return Section(document, (), problems, findings), findings


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("*", ["*"]), ("**", ["*"]), ("*.", ["*"]), ("x.com", ["x.com"]),
        ("*.x.com", ["+.x.com"]), ("**.x.com", ["*.x.com"]), ("***.x.com", ["*.x.com"]),
        ("a-*.x.com", ["a-*.x.com", "a-.x.com"]), ("a**b.x.com", ["a*b.x.com", "ab.x.com"]),
        ("X.Com.", ["x.com"]),
    ],
)  # fmt: skip
def test_a_pattern_is_ours_or_two_of_ours(written: str, ours: list[str]) -> None:
    assert [found.text for found in patterns_of(written)] == ours


@pytest.mark.parametrize(
    "written", ["a.*.com", "*x.com", "**x.com", "*.*.com", "**.*.com", "a*b*.x.com", "", "x..com"]
)
def test_a_pattern_that_is_none_of_ours_is_refused(written: str) -> None:
    with pytest.raises(Wrong):
        patterns_of(written)


def test_holes_are_cut_out_of_their_own_prefix() -> None:
    found, _ = section(
        "toCIDRSet:\n- {cidr: 10.0.0.0/30, except: [10.0.0.1/32, 10.0.0.0/32]}\n"
        "- {cidr: 10.0.1.0/24, except: [10.0.0.0/8]}\n- {cidr: 2001:db8::/32}\n"
    )

    assert [what.text for _, what, _ in prefixes_of(found)] == ["10.0.0.2/31", "[2001:db8::]/32"]


def test_without_ports_everything_is_meant() -> None:
    assert ports_of(section("toFQDNs: []\n")[0]) == (ANY, False)


@pytest.mark.parametrize(
    "ports",
    [
        "[{port: https}]", "[{port: '70000'}]", "[{port: '1', protocol: GRE}]", "[]",
        "[{port: '9', endPort: 8}]", "[{port: '9', name: x}]",
    ],
)  # fmt: skip
def test_a_port_that_cannot_be_said_leaves_the_rule_out_and_says_so(ports: str) -> None:
    found, findings = section(f"toPorts: [{{ports: {ports}}}]\n")
    if "name: x" in ports:
        assert ports_of(found)[0] is not None
    else:
        assert ports_of(found) == (None, False)

    assert findings
