"""Entries as rules: the ports of the rules are the entry's, no more and no less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.model import PortRange, PortSet, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.destination import parse_destination
from dnsfw.policy.first_match import Entry
from dnsfw.policy.importers.rule_lines import holds_metadata, port_suffixes, rule_lines, said
from dnsfw.policy.ports import ANY, HAVE_PORTS, KNOWN, PROTOCOL_NAMES

RANGES = st.tuples(st.sampled_from(sorted(HAVE_PORTS)), st.integers(1, 60), st.integers(0, 9)).map(
    lambda one: PortRange(one[0], one[1], one[1] + one[2])
)
WHOLE = st.sampled_from(sorted(PROTOCOL_NAMES)).map(PortRange)


@given(st.lists(RANGES | WHOLE, min_size=1, max_size=40).map(PortSet.of))
def test_the_rules_of_an_entry_have_its_ports(ports: PortSet) -> None:
    found = PortSet()
    for suffix in port_suffixes(ports):
        found = found.union(parse_destination(f"x.example{suffix}").ports)

    assert found == ports


def test_everything_usual_is_written_without_ports() -> None:
    assert list(port_suffixes(ANY)) == [""]
    assert next(port_suffixes(KNOWN)) == ""


def test_a_rule_stands_once_and_a_wide_one_says_so() -> None:
    what = parse_destination("*.co.uk:443").what
    entry = Entry(Verdict.ALLOW, what, parse_destination("x:443").ports)

    lines = rule_lines([entry, entry])

    assert lines == '  - allow: "*.co.uk:443"\n    broad: true\n'
    compile_text(f"version: 1\ndefault: deny\nrules:\n{lines}")
    assert said(entry) == "allow *.co.uk:443"


@pytest.mark.parametrize(
    ("text", "holds"),
    [("169.254.0.0/16", True), ("0.0.0.0/0", True), ("10.0.0.0/8", False), ("x.example", False)],
)
def test_a_prefix_with_a_metadata_service_is_seen(text: str, holds: bool) -> None:
    assert holds_metadata(parse_destination(text).what) is holds
