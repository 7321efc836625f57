"""Which guard a name stands under, and what the gate lets pass."""

from __future__ import annotations

import pytest

from dnsfw.engine.gate import Gate, guard_of
from dnsfw.engine.limits import Limits
from dnsfw.model import (
    DEFAULT_RULE,
    Addr,
    Grant,
    Nanos,
    PortSet,
    RoleId,
    Verdict,
    addr_from,
)
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.questions import Action
from dnsfw.wire.codes import PTR, TXT, A
from dnsfw.wire.name import from_text

POLICY = """
version: 1
default: deny
guard: throttle
rules:
  - allow: "*.x.com"
  - allow: .tree.com
  - allow: www.x.com
  - allow: "*.y.com"
    guard: refuse
  - allow: "*.z.com"
    guard: off
  - deny: no.x.com
"""


def host(text: str = POLICY) -> RolePolicy:
    return compile_text(text).host


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("a.x.com", Action.THROTTLE),
        ("www.x.com", None),  # an exact name says nothing
        ("tree.com", None),
        ("a.tree.com", Action.THROTTLE),
        ("a.y.com", Action.REFUSE),
        ("a.z.com", None),
    ],
)
def test_row_63_a_name_stands_under_the_guard_of_its_rule(name: str, action: Action) -> None:
    policy, wire = host(), from_text(name)

    guard = guard_of(policy, policy.judge(wire), wire)

    assert (guard.action if guard else None) is action


def test_row_63_an_audit_only_logs() -> None:
    policy, wire = host(POLICY.replace("default:", "mode: audit\ndefault:")), from_text("a.y.com")

    guard = guard_of(policy, policy.judge(wire), wire)

    assert guard is not None
    assert guard.action is Action.LOG


def gate(*verdicts: Verdict) -> Gate:
    grants = tuple(Grant(Nanos(1), DEFAULT_RULE, PortSet(), verdict) for verdict in verdicts)

    def granted(_role: RoleId, addr: Addr) -> tuple[Grant, ...]:
        return grants if addr == addr_from("192.0.2.7") else ()

    return Gate(granted, Limits())


@pytest.mark.parametrize(
    ("verdicts", "name", "qtype", "lets"),
    [
        ((Verdict.ALLOW,), "7.2.0.192.in-addr.arpa", PTR, True),
        ((Verdict.DENY, Verdict.ALLOW), "7.2.0.192.in-addr.arpa", PTR, True),
        ((Verdict.DENY,), "7.2.0.192.in-addr.arpa", PTR, False),
        ((), "7.2.0.192.in-addr.arpa", PTR, False),
        ((Verdict.ALLOW,), "8.2.0.192.in-addr.arpa", PTR, False),
        ((Verdict.ALLOW,), "7.2.0.192.in-addr.arpa", TXT, False),
        ((), "a.x.com", A, True),
        ((), "a.x.com", 10, False),
        ((), "no.x.com", A, False),
    ],
)
def test_row_64_and_65_what_may_be_asked(
    verdicts: tuple[Verdict, ...], name: str, qtype: int, lets: bool
) -> None:
    assert gate(*verdicts).lets_ask(host(), from_text(name), qtype) is lets


def test_counters_have_stable_names() -> None:
    assert set(gate().stats()) == {
        "types_refused", "guard_signs", "guard_held", "guard_domains", "guard_names",
    }  # fmt: skip
