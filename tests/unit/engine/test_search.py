"""What a search list makes of allowed names."""

from __future__ import annotations

import pytest

from dnsfw.engine.search import expands
from dnsfw.policy.compile import compile_text
from dnsfw.wire.name import from_text

ROLE = compile_text(
    "version: 1\ndefault: deny\nrules: [{allow: x.com}, {allow: db}, {deny: x.com.bad.net}]"
).host


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("x.com.corp.example", True),
        ("db.corp.example", True),
        ("x.com", False),
        ("y.com.corp.example", False),
        ("x.com.bad.net", False),  # a rule names it
        (".".join("a" * 60), False),
    ],
)
def test_an_allowed_name_with_a_domain_behind_it(name: str, is_one: bool) -> None:
    assert expands(from_text(name), ROLE) is is_one
