"""Explain as the engine would act: grants count, and names that are answered here are told."""

from __future__ import annotations

import pytest

from dnsfw.engine.explain import explain_for, told_of
from dnsfw.model import DEFAULT_RULE, Grant, Nanos, PortRange, PortSet, Reason, Verdict
from dnsfw.policy.asked import parse_asked
from dnsfw.policy.compile import compile_text

POLICY = compile_text("version: 1\ndefault: deny\nrules: [{allow: 'x.com:443'}, {deny: 192.0.2.9}]")
HTTPS = PortSet((PortRange(6, 443, 443),))


def test_a_grant_opens_its_ports_and_names_its_rule() -> None:
    rule = POLICY.host.rules[0]
    grant = Grant(Nanos(9), rule.id, HTTPS, Verdict.ALLOW)

    found = explain_for(POLICY.host, parse_asked("192.0.2.7:443"), [grant])
    other = explain_for(POLICY.host, parse_asked("192.0.2.7:80"), [grant])

    assert (found.verdict, found.best.rule) == (Verdict.ALLOW, rule)
    assert (other.verdict, other.best.reason) == (Verdict.DENY, Reason.NEVER_RESOLVED)


def test_an_address_rule_beats_a_grant_and_a_closing_one_beats_an_opening_one() -> None:
    opening = Grant(Nanos(9), POLICY.host.rules[0].id, HTTPS, Verdict.ALLOW)
    closing = Grant(Nanos(9), DEFAULT_RULE, HTTPS, Verdict.DENY)

    ruled = explain_for(POLICY.host, parse_asked("192.0.2.9:443"), [opening])
    shut = explain_for(POLICY.host, parse_asked("192.0.2.7:443"), [opening, closing])

    assert (ruled.best.reason, ruled.verdict) == (Reason.ADDRESS_RULE, Verdict.DENY)
    assert shut.verdict is Verdict.DENY


@pytest.mark.parametrize("name", ["localhost", "use-application-dns.net"])
def test_a_name_that_is_answered_here_is_told(name: str) -> None:
    assert "itself" in explain_for(POLICY.host, parse_asked(name)).notes[-1]


def test_a_type_that_may_not_be_asked_for_is_a_denial_and_in_audit_is_none() -> None:
    text = "version: 1\ndefault: deny\nqtypes: strict\nrules: [{allow: 'x.com'}]\n"
    policy, audit = compile_text(text), compile_text(text + "mode: audit\n")
    asked = parse_asked("x.com")

    row = told_of(policy.host, explain_for(policy.host, asked), "TXT")
    let = told_of(audit.host, explain_for(audit.host, asked), "TXT")

    assert (row["verdict"], row["reason"], row["questions"]["asked"]) == ("deny", "qtype", False)
    assert (let["verdict"], let["questions"]["asked"]) == ("allow", True)


def test_a_name_that_is_denied_has_no_questions() -> None:
    asked = parse_asked("other.example")

    assert told_of(POLICY.host, explain_for(POLICY.host, asked), "A")["questions"] is None
