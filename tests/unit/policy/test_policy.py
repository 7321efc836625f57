from __future__ import annotations

from dnsfw.datapath import abi
from dnsfw.model import DEFAULT_RULE, HOST, Mode, RuleId, Verdict
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
