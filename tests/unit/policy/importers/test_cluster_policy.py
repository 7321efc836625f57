"""Tiers, priorities and the order of rules, under a policy that has no order."""

from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.importers import FORMATS, Imported, Kept, import_text
from dnsfw.wire.name import from_text

REST = "  - {action: Deny, to: [{networks: ['0.0.0.0/0', '::/0']}]}\n"


def document(
    rules: str, priority: int = 5, tier: str = "Admin", subject: str = "{namespaces: {}}"
) -> str:
    return (
        "kind: ClusterNetworkPolicy\nmetadata: {name: p}\nspec:\n"
        f"  tier: {tier}\n  priority: {priority}\n  subject: {subject}\n  egress:\n{rules}"
    )


def made(*documents: str) -> Imported:
    return import_text(FORMATS["cluster-policy"], "---\n".join(documents), "p.yaml")


def rule(action: str, to: str) -> str:
    return f"  - {{action: {action}, to: [{to}]}}\n"


def test_a_last_denial_of_everything_is_the_default() -> None:
    done = made(document(rule("Accept", "{domainNames: ['*.x.example']}") + REST))
    host = compile_text(done.text).host

    assert done.lost == () and host.default is Verdict.DENY
    assert host.judge(from_text("a.b.x.example")).answered
    assert not host.judge(from_text("x.example")).answered


def test_of_one_family_alone_it_closes_the_other_too_and_says_so() -> None:
    done = made(document(rule("Deny", "{networks: ['0.0.0.0/0']}")))

    assert any("::/0" in found.became for found in done.findings if found.kept is Kept.NOTED)


def test_without_it_the_rest_stays_open() -> None:
    assert compile_text(made(document(rule("Deny", "{networks: [192.0.2.0/24]}"))).text
                        ).host.default is Verdict.ALLOW  # fmt: skip


def test_priority_and_tier_come_before_the_order_of_the_file() -> None:
    wide = rule("Deny", "{networks: [10.0.0.0/8]}")
    narrow = rule("Accept", "{networks: [10.1.0.0/16]}")

    first = made(document(wide, 9), document(narrow, 1))
    last = made(document(narrow, 9), document(wide, 1))
    below = made(document(narrow, 1, "Baseline"), document(wide, 9))

    def open_(done: Imported) -> bool:
        found = compile_text(done.text).host.judge_addr(addr_from("10.1.0.1"), 6, 1)
        return found is None or found.verdict is Verdict.ALLOW

    assert [first.lost, last.lost, below.lost] == [(), (), ()]
    assert [open_(first), open_(last), open_(below)] == [True, False, False]


def test_of_one_prefix_the_later_rule_has_the_ports_that_are_left() -> None:
    deny = (
        "  - action: Deny\n    to: [{networks: [10.0.0.0/8]}]\n"
        "    ports: [{portNumber: {protocol: TCP, port: 25}}]\n"
    )
    done = made(document(deny + rule("Accept", "{networks: [10.0.0.0/8]}") + REST))
    host = compile_text(done.text).host

    assert done.lost == ()
    for port, verdict in ((25, Verdict.DENY), (24, Verdict.ALLOW), (26, Verdict.ALLOW)):
        found = host.judge_addr(addr_from("10.0.0.1"), 6, port)
        assert found is not None and found.verdict is verdict


@pytest.mark.parametrize(
    ("documents", "source"),
    [
        (
            (document(
                "  - action: Deny\n    to: [{networks: [10.0.0.0/8]}]\n"
                "    ports: [{portNumber: {protocol: TCP, port: 25}}]\n"
                + rule("Accept", "{networks: [10.1.0.0/16]}")
            ),),
            "networks 10.1.0.0/16",
        ),
        ((document(rule("Deny", "{domainNames: [x.example]}")
                   + rule("Accept", "{networks: [10.0.0.0/8]}")),), "networks 10.0.0.0/8"),
        ((document(rule("Pass", "{networks: [10.0.0.0/8]}") + REST),), "action: Pass"),
        ((document(rule("Accept", "{nodes: {}}, {networks: [10.0.0.0/8]}") + REST),), "nodes: {}"),
        ((document(rule("Accept", "{domainNames: ['a-*.example']}") + REST),),
         "domainNames a-*.example"),
        ((document(REST), document(REST)), "priority: 5"),
        ((document(REST), document(REST, 6, subject="{namespaces: {matchLabels: {a: b}}}")),
         "namespaces: matchLabels=a=b"),
        ((document(REST) + "  ingress: [{action: Deny, from: []}]\n",), "ingress: 1 rules"),
    ],
)  # fmt: skip
def test_what_order_alone_can_say_is_lost(documents: tuple[str, ...], source: str) -> None:
    lost = [found.source for found in made(*documents).lost]

    assert lost == [source]


def test_both_spellings_of_ports_mean_the_same() -> None:
    to = "to: [{networks: [192.0.2.0/24]}]"
    old = f"  - action: Allow\n    {to}\n    ports: [{{portRange: {{start: 80, end: 90}}}}]\n"
    new = (
        f"  - action: Accept\n    {to}\n"
        "    protocols: [{tcp: {destinationPort: {range: {start: 80, end: 90}}}}]\n"
    )

    texts = [made(document(rules + REST)).text for rules in (old, new)]

    assert texts[0] == texts[1] and ":80-90/tcp" in texts[0]


@pytest.mark.parametrize(
    "ports",
    ["ports: [{namedPort: x}]", "protocols: [{}]", "protocols: [{icmp: {}}]",
     "protocols: [{destinationNamedPort: x}]", "protocols: [{tcp: {sourcePort: {number: 1}}}]",
     "ports: [{portNumber: {protocol: GRE, port: 1}}]", "ports: [{portRange: {start: 9, end: 8}}]"],
)  # fmt: skip
def test_a_rule_whose_ports_cannot_be_said_is_left_out_whole(ports: str) -> None:
    done = made(document(f"  - action: Accept\n    to: [{{networks: [10.0.0.0/8]}}]\n    {ports}\n"
                         + REST))  # fmt: skip

    assert done.lost and not compile_text(done.text).host.rules


@pytest.mark.parametrize(
    "text",
    [document("  - {action: Deny}\n"), document("", 5), document(REST, 5000),
     document(REST, 5, "Middle"), document(REST).replace("  priority: 5\n", ""),
     document(REST).replace("  subject: {namespaces: {}}\n", "")],
)  # fmt: skip
def test_a_policy_that_the_api_refuses_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match=r"p\.yaml:\d+"):
        made(text)
