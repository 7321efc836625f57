"""An explanation as a row."""

from __future__ import annotations

from dnsfw.policy.compile import compile_text
from dnsfw.policy.explain import explain
from dnsfw.policy.explained import explained_row


def test_a_row_holds_the_rule_with_its_place_and_the_rule_that_lost() -> None:
    policy = compile_text("version: 1\ndefault: deny\nrules:\n  - allow: .x.com\n  - deny: a.x.com")

    row = explained_row(explain(policy.host, "a.x.com"))

    assert (row["verdict"], row["reason"], row["role"]) == ("deny", "by-name", "host")
    assert (row["rule"]["text"], row["rule"]["line"]) == ("deny a.x.com", 5)
    assert (row["runner_up"]["text"], row["runner_up"]["line"]) == ("allow .x.com", 4)
    assert row["why"] == "an exact name beats every wildcard"


def test_a_default_has_no_rule() -> None:
    row = explained_row(explain(compile_text("version: 1\ndefault: allow").host, "x.com:443"))

    assert (row["rule"], row["shares"][0]["ports"]) == (None, "443/tcp")
