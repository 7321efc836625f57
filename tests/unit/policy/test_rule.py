from __future__ import annotations

from dnsfw.datapath import abi
from dnsfw.model import PortRange, PortSet, Reason, RuleId, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.ports import ANY, KNOWN
from dnsfw.policy.rule import Judgement, Share, rule_id

HTTPS = PortSet((PortRange(6, 443, 443),))


def share(ports: PortSet, verdict: Verdict) -> Share:
    return Share(ports, verdict, None, Reason.NAME_DEFAULT)


def test_an_id_depends_on_role_and_text_alone() -> None:
    assert rule_id("host", "allow x.com", frozenset()) == rule_id("host", "allow x.com", set())
    assert rule_id("host", "allow x.com", set()) != rule_id("web", "allow x.com", set())
    assert rule_id("host", "allow x.com", set()) != rule_id("host", "deny x.com", set())


def test_an_id_never_is_one_that_the_kernel_keeps_for_itself() -> None:
    ids = [rule_id("host", f"allow h{n}.com", set()) for n in range(2000)]

    assert min(ids) >= abi.RuleId.FIRST
    assert max(ids) <= 0xFFFF_FFFF


def test_a_collision_moves_on_by_one_and_round_the_end() -> None:
    first = rule_id("host", "allow x.com", set())

    assert rule_id("host", "allow x.com", {first}) == first + 1
    beyond = {RuleId(n) for n in range(first, first + 5)}
    assert rule_id("host", "allow x.com", beyond) == first + 5


def test_ids_survive_a_reload_and_a_new_order_of_rules() -> None:
    one = compile_text("version: 1\ndefault: deny\nrules: [allow: a.com, allow: b.com]")
    two = compile_text(
        "version: 1\ndefault: allow\nrules: [allow: b.com, deny: c.com, allow: a.com]"
    )

    ids = {rule.text: rule.id for rule in two.host.rules}
    assert {rule.text: rule.id for rule in one.host.rules}.items() <= ids.items()


def test_the_first_share_that_allows_is_credited() -> None:
    deny, allow = share(HTTPS, Verdict.DENY), share(ANY.minus(HTTPS), Verdict.ALLOW)

    assert Judgement.of((deny, allow)).best is allow
    assert Judgement.of((deny,)).best is deny
    assert Judgement.of((deny,)).verdict is Verdict.DENY


def test_a_default_that_allows_only_rare_protocols_answers_nothing() -> None:
    refused = share(ANY, Verdict.DENY)

    assert not Judgement.of((refused, share(KNOWN.minus(ANY), Verdict.ALLOW))).answered


def test_a_protocol_that_nobody_lists_goes_with_the_last_share() -> None:
    deny, rest = share(HTTPS, Verdict.DENY), share(KNOWN.minus(HTTPS), Verdict.ALLOW)

    assert Judgement.of((deny, rest)).share(253, 0) is rest


def test_refuses_all_means_a_whole_family_on_every_port() -> None:
    def first(text: str) -> bool:
        return (
            compile_text(f"version: 1\ndefault: allow\nrules: [{text}]").host.rules[0].refuses_all
        )

    assert first("deny: 0.0.0.0/0")
    assert first('deny: "[::]/0:*"')
    assert not first("deny: 0.0.0.0/0:25/tcp")
    assert not first("deny: 128.0.0.0/1")
    assert not first("allow: 0.0.0.0/0")
