from __future__ import annotations

import pytest

from dnsfw.datapath import abi
from dnsfw.errors import ConfigError
from dnsfw.model import (
    DEFAULT_RULE,
    HOST,
    Inbound,
    Loopback,
    Mode,
    PortRange,
    PortSet,
    RolePlan,
    RuleId,
    Verdict,
    addr_from,
)
from dnsfw.policy.compile import compile_text
from dnsfw.wire.name import from_text, to_text


def text(default: str, *lines: str) -> str:
    return "\n".join([f"version: 1\ndefault: {default}", *lines])


def test_the_plan_holds_every_live_rule_and_the_role() -> None:
    policy = compile_text(text("deny", "rules: [allow: x.com, allow: 10.0.0.0/8]"))

    plan = policy.plan()

    assert {rule.id for rule in policy.host.rules} <= plan.rules
    assert RuleId(abi.RuleId.BUILTIN) in plan.rules
    (role,) = plan.roles
    assert (role.role, role.default, role.mode) == (HOST, Verdict.DENY, Mode.ENFORCE)
    assert all(entry.role == HOST for entry in plan.fixed)


def test_the_default_rule_lives_only_while_the_default_lets_something_pass() -> None:
    assert DEFAULT_RULE in compile_text(text("allow")).plan().rules
    assert DEFAULT_RULE not in compile_text(text("deny")).plan().rules
    assert DEFAULT_RULE in compile_text(text("deny", "mode: audit")).plan().rules


def test_a_rule_is_found_by_its_id() -> None:
    policy = compile_text(text("deny", "rules: [allow: x.com]"))
    (rule,) = policy.host.rules

    assert policy.rule(rule.id) is rule
    assert policy.rule(DEFAULT_RULE) is None


def test_promise_7_exact_denied_names_and_apexes_are_closed() -> None:
    policy = compile_text(
        text(
            "allow",
            "rules:",
            "  - deny: [a.com, .b.com, '*.c.com', '+.d.com', 'x*.e.com', 10.0.0.0/8]",
            "  - allow: f.com",
        )
    )

    assert [to_text(name) for name, _ in policy.host.closes] == ["a.com", "b.com"]


def test_promise_7_nothing_is_looked_up_under_default_deny() -> None:
    assert compile_text(text("deny", "rules: [deny: a.com]")).host.closes == ()


def test_an_apex_that_a_better_rule_allows_is_not_closed() -> None:
    policy = compile_text(text("allow", "rules: [deny: .b.com, allow: b.com]"))

    assert policy.host.closes == ()


def test_an_apex_that_a_better_rule_allows_in_part_is_closed_for_the_rest() -> None:
    policy = compile_text(text("allow", "rules: [deny: .b.com, allow: b.com:443]"))

    ((name, rule),) = policy.host.closes
    assert name == from_text("b.com")
    assert rule.text == "deny .b.com"


def test_settings_reach_the_policy() -> None:
    policy = compile_text(
        text(
            "allow",
            "mode: audit",
            "resolved_only: true",
            "degraded: allow",
            "host: {containers: true}",
            "ttl: {min: 1m, max: 2h, grace: 1m}",
        )
    )

    assert policy.host.mode is Mode.AUDIT
    assert policy.host.resolved_only
    assert policy.plan().roles[0].resolved_only
    assert policy.degraded
    assert policy.containers
    assert (policy.host.ttl.min, policy.host.ttl.max, policy.host.ttl.grace) == (60, 7200, 60)
    assert policy.host.metadata is False


def test_metadata_is_denied_under_default_deny_or_on_demand() -> None:
    assert compile_text(text("deny")).host.metadata
    assert compile_text(text("allow", "rules: [deny: metadata]")).host.metadata


def test_an_endpoint_reads_as_people_write_it() -> None:
    policy = compile_text(text("deny", 'dns: {listen: ["[::1]:5353", "127.0.0.1:53"]}'))

    assert [str(endpoint) for endpoint in policy.dns.listen] == ["[::1]:5353", "127.0.0.1:53"]


ROLES = """version: 1
default: allow
rules: [allow: 10.0.0.0/8:22/tcp]
dns: {takeover: true}
roles:
  web:
    default: deny
    mode: audit
    inbound: [80/tcp]
    loopback: own
    rules: [allow: 10.0.0.0/8:443/tcp, deny: x.com]
  db: {inbound: deny}
"""


def test_the_plan_holds_every_role_as_it_is_written() -> None:
    policy = compile_text(ROLES)
    plan = policy.plan()
    web = policy.role_id("web")
    (found,) = [role for role in plan.roles if role.role == web]

    assert [role.role for role in plan.roles] == [HOST, web, policy.role_id("db")]
    assert found == RolePlan(
        web,
        Verdict.DENY,
        Mode.AUDIT,
        False,
        Inbound.PORTS,
        PortSet((PortRange(6, 80, 80),)),
        Loopback.OWN,
        PortSet(),
        True,
    )


def test_promise_5_the_fixed_entries_of_a_role_hold_its_own_rules_alone() -> None:
    policy = compile_text(ROLES)
    web = policy.role_id("web")
    prefix = addr_from("10.0.0.0")
    rules = {
        entry.role: [rule.ports for rule in entry.rules if rule.verdict is Verdict.ALLOW]
        for entry in policy.plan().fixed
        if entry.addr == prefix
    }

    assert rules == {
        HOST: [PortSet((PortRange(6, 22, 22),))],
        web: [PortSet((PortRange(6, 443, 443),))],
    }
    assert policy.host.judge(from_text("x.com")).answered
    assert not policy.roles[web].judge(from_text("x.com")).answered


def test_the_default_rule_lives_while_any_role_lets_something_pass() -> None:
    roles = "roles: {web: {default: %s}}"

    assert DEFAULT_RULE in compile_text(text("deny", roles % "allow")).plan().rules
    assert DEFAULT_RULE not in compile_text(text("deny", roles % "deny")).plan().rules


def test_a_role_is_found_by_its_name_or_the_mistake_is_told() -> None:
    policy = compile_text(ROLES)

    assert policy.role_id("host") == HOST
    assert policy.role_names[policy.role_id("web")] == "web"
    with pytest.raises(ConfigError, match="no role is called 'wbe'; did you mean 'web'"):
        policy.role_id("wbe")
    with pytest.raises(ConfigError, match="no role is called 'x'; known is host, web, db"):
        policy.role_id("x")


def test_access_reads_as_it_is_written() -> None:
    policy = compile_text(ROLES)
    web = policy.roles[policy.role_id("web")].access

    assert (web.inbound_text, web.loopback_text) == ("80/tcp", "own")
    assert (policy.host.access.inbound_text, policy.host.access.loopback_text) == ("all", "all")


def test_row_139_audit_lets_pass_but_says_no_all_the_same() -> None:
    policy = compile_text(text("deny", "mode: audit", "rules: [allow: a.com]"))

    assert not policy.host.judge(from_text("planted.example")).answered
    assert policy.host.closes == ()
    (plan,) = policy.plan().roles
    assert (plan.default, plan.mode) == (Verdict.DENY, Mode.AUDIT)
