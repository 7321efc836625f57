"""Which flows the policy of now lets go on; the ledger's names are in scenario/test_policy_swap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnsfw.engine.filter import Site
from dnsfw.engine.flows import accepts, stays
from dnsfw.engine.ledger import Ledger
from dnsfw.engine.limits import Limits
from dnsfw.engine.slots import Piece
from dnsfw.model import (
    DEFAULT_RULE,
    HOST,
    Addr,
    Flow,
    Inbound,
    Lockdown,
    Nanos,
    PortRange,
    PortSet,
    Reason,
    RoleId,
    RolePlan,
    RuleId,
    Verdict,
    abi,
    addr_from,
)
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.wire.name import from_text

REMOTE = addr_from("192.0.2.7")
FLOW = Flow(
    b"k", HOST, DEFAULT_RULE, False, 6, Addr(bytes(16)), 40_000, REMOTE, 443, Nanos(1), Nanos(1),
    abi.FlowState.OPEN, Reason.DEFAULT,
)  # fmt: skip


def policy(*rules: str, default: str = "allow", more: str = "") -> Policy:
    listed = "".join(f"  - {rule}\n" for rule in rules or ("allow: x.net",))
    return compile_text(f"version: 1\ndefault: {default}\n{more}rules:\n{listed}")


def judged(flow: Flow, rules: Policy, ledger: Ledger | None = None) -> bool:
    return stays(flow, rules, ledger or Ledger(Limits()), Site(), Lockdown.OFF)


def test_what_began_by_default_stays_while_the_default_allows() -> None:
    assert judged(FLOW, policy())
    assert not judged(FLOW, policy(default="deny"))
    assert not judged(FLOW, policy(more="resolved_only: true\n"))


def test_what_began_by_a_rule_stays_while_the_rule_is_there() -> None:
    rules = policy("allow: x.net", default="deny")
    flow = replace(FLOW, rule=rules.host.rules[0].id, reason=Reason.GRANTED)

    assert judged(flow, rules)
    assert not judged(replace(flow, rule=RuleId(12345)), rules)
    assert not judged(flow, policy("deny: x.net", default="deny"))


def test_address_rules_come_first() -> None:
    assert not judged(FLOW, policy("deny: 192.0.2.0/24"))
    assert judged(FLOW, policy("deny: 192.0.2.0/24:22"))
    assert judged(FLOW, policy("allow: 192.0.2.7:443", default="deny"))


def test_a_closing_grant_ends_flows_to_its_ports() -> None:
    ledger = Ledger(Limits())
    shut = Piece(RuleId(300), PortSet.of([PortRange(6, 443, 443)]), Verdict.DENY)
    ledger.hold(HOST, from_text("ads.net"), [REMOTE], [(shut, Nanos(99))], Nanos(1))

    assert not judged(FLOW, policy("deny: ads.net"), ledger)
    assert judged(replace(FLOW, remote_port=80), policy("deny: ads.net:443"), ledger)


@pytest.mark.parametrize(
    "reason", [Reason.OWN_SOCKET, Reason.UPKEEP, Reason.LISTENER, Reason.LOOPBACK]
)
def test_what_neither_name_nor_address_began_is_left_alone(reason: Reason) -> None:
    assert judged(replace(FLOW, reason=reason), policy(default="deny"))


def test_inbound_flows_and_loopback_are_left_alone() -> None:
    assert judged(replace(FLOW, inbound=True), policy(default="deny"))
    assert judged(replace(FLOW, remote=addr_from("127.0.0.1")), policy(default="deny"))


def test_a_role_that_is_gone_has_no_flows_and_an_auditing_one_keeps_them() -> None:
    assert not judged(replace(FLOW, role=RoleId(99)), policy())
    assert judged(FLOW, policy(default="deny", more="mode: audit\n"))


@pytest.mark.parametrize(
    ("level", "out", "into"),
    [
        (Lockdown.OFF, True, True),
        (Lockdown.ON, False, True),
        (Lockdown.HARD, False, False),
    ],
)
def test_a_lockdown_ends_all_but_loopback_and_unless_hard_inbound(
    level: Lockdown, out: bool, into: bool
) -> None:
    ledger, rules = Ledger(Limits()), policy()

    assert stays(FLOW, rules, ledger, Site(), level) is out
    assert stays(replace(FLOW, inbound=True), rules, ledger, Site(), level) is into
    assert stays(replace(FLOW, remote=addr_from("::1")), rules, ledger, Site(), level)


@pytest.mark.parametrize(
    ("inbound", "ports", "tcp80", "udp80"),
    [
        (Inbound.ALL, (), True, True),
        (Inbound.TCP, (), True, False),
        (Inbound.DENY, (), False, False),
        (Inbound.PORTS, (PortRange(6, 80, 80),), True, False),
        (Inbound.PORTS, (PortRange(6, 443, 443),), False, False),
    ],
)
def test_what_began_from_outside_stays_while_inbound_lets_it_begin(
    inbound: Inbound, ports: tuple[PortRange, ...], tcp80: bool, udp80: bool
) -> None:
    plan = RolePlan(HOST, Verdict.DENY, inbound=inbound, inbound_ports=PortSet(ports))

    assert accepts(plan, 6, 80) is tcp80
    assert accepts(plan, 17, 80) is udp80


def test_nothing_stays_of_a_role_that_is_gone() -> None:
    gone = replace(FLOW, role=RoleId(99), inbound=True, reason=Reason.INBOUND)

    assert not judged(gone, policy())
    assert judged(replace(gone, role=HOST), policy())
