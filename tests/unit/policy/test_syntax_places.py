"""A place in a policy file is of one section of the language."""

from __future__ import annotations

import pytest

from dnsfw.policy.syntax import DnsSection, PolicySection, TablesSection
from dnsfw.policy.syntax_places import section_at
from dnsfw.policy.syntax_roles import RoleSection, SubjectSection
from dnsfw.policy.syntax_rules import ListSection, RuleSection
from dnsfw.policy.syntax_yaml import Path


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ((), PolicySection),
        (("mode",), PolicySection),
        (("dns",), DnsSection),
        (("tables",), TablesSection),
        (("rules", 3), RuleSection),
        (("rules", 3, "deny", 0), PolicySection),
        (("rules", 3, "deny"), ListSection),
        (("roles", "web"), RoleSection),
        (("roles", "web", "rules", 0), RuleSection),
        (("roles", "web", "subjects", 0), SubjectSection),
    ],
)
def test_a_place_is_of_one_section(path: Path, section: type) -> None:
    assert section_at(path) is section
