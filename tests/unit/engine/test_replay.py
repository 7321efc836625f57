"""What a policy says of things that were seen is what explain, test and the engine say."""

from __future__ import annotations

import json

import pytest

from dnsfw.engine.explain import explain_for
from dnsfw.engine.replay import Judge, Outcome
from dnsfw.errors import ConfigError
from dnsfw.model import Verdict
from dnsfw.policy.asked import parse_asked
from dnsfw.policy.compile import compile_text
from dnsfw.policy.ports import describe
from dnsfw.policy.seen import Seen, read_seen

POLICY = compile_text(
    """\
version: 1
default: deny
rules:
  - allow: "*.x.com:443"
  - deny: .tracker.example
  - deny: 198.51.100.0/24
  - allow: 10.0.0.0/8:5432/tcp
roles:
  watched: {default: deny, mode: audit, rules: [{allow: ok.com}, {deny: .ads.example}]}
  open:
    default: allow
    rules: [deny: .ads.example, {deny: strict.example, shared: deny}]
"""
)
JUDGE = Judge(POLICY)


def seen(**row: object) -> Seen:
    (found,) = read_seen([json.dumps({"verdict": "allow", "kind": "name", **row})])
    assert isinstance(found, Seen)
    return found


def name(text: str, *addresses: str, chain: tuple[str, ...] = (), role: str = "host") -> Seen:
    return seen(name=text, addresses=addresses, chain=chain, role=role)


def connection(address: str, port: int, *names: str, role: str = "host") -> Seen:
    return seen(kind="connection", address=address, port=port, protocol="tcp", names=names,
                role=role)  # fmt: skip


def judged(one: Seen) -> Outcome:
    found = JUDGE.judge(one)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("one", "verdict", "by"),
    [
        (name("www.x.com"), "allow", "allow *.x.com:443"),
        (name("y.com"), "deny", "name-default"),
        (name("www.x.com", "192.0.2.1"), "allow", "allow *.x.com:443"),
        (name("www.x.com", "172.16.0.1"), "deny", "filtered: 172.16.0.1"),
        (name("www.x.com", "198.51.100.1"), "deny", "deny 198.51.100.0/24"),
        (name("www.x.com", "192.0.2.1", chain=("t.tracker.example",)), "deny",
         "deny .tracker.example"),
        (name("y.com", role="watched"), "deny", "name-default"),
        (name("ok.com", "192.0.2.1", role="watched"), "allow", "allow ok.com"),
        (name("ok.com", "192.0.2.1", chain=("t.ads.example",), role="watched"), "deny",
         "deny .ads.example"),
        (name("y.com", "192.0.2.1", role="open"), "allow", "name-default"),
        (name("y.com", "192.0.2.1", chain=("t.ads.example",), role="open"), "deny",
         "deny .ads.example"),
        (connection("192.0.2.1", 443), "deny", "never-resolved"),
        (connection("192.0.2.1", 443, "www.x.com"), "allow", "allow *.x.com:443"),
        (connection("192.0.2.1", 80, "www.x.com"), "deny", "never-resolved"),
        (connection("10.0.0.1", 5432), "allow", "allow 10.0.0.0/8:5432/tcp"),
        (connection("198.51.100.1", 443, "www.x.com"), "deny", "deny 198.51.100.0/24"),
        (connection("192.0.2.1", 443, "t.ads.example", role="open"), "deny", "deny .ads.example"),
        (connection("192.0.2.1", 443, "strict.example", role="open"), "deny",
         "deny strict.example"),
    ],
)  # fmt: skip
def test_what_was_seen_is_judged_by_name_chain_addresses_and_port(
    one: Seen, verdict: str, by: str
) -> None:
    found = judged(one)

    assert found.verdict is Verdict[verdict.upper()]
    assert (found.rule.text if found.rule else found.reason) == by


def test_the_ports_are_those_that_name_and_addresses_leave_open() -> None:
    assert describe(judged(name("www.x.com", "192.0.2.1")).ports) == "443/tcp+udp"
    assert describe(judged(name("www.x.com", "10.0.0.1")).ports) == "5432/tcp"


@pytest.mark.parametrize("text", ["www.x.com", "www.x.com:80", "y.com", "a.tracker.example:443"])
@pytest.mark.parametrize("role", ["host", "open"])
def test_a_name_alone_is_judged_as_explain_judges_it(text: str, role: str) -> None:
    host, _, port = text.partition(":")
    one = seen(name=host, port=int(port or 0), protocol="tcp" if port else "", role=role)
    policy = POLICY.roles[POLICY.role_id(role)]

    assert judged(one).verdict is explain_for(policy, parse_asked(text)).verdict


def test_a_role_that_the_policy_has_not_is_judged_by_nobody_unless_somebody_stands_in() -> None:
    one = name("www.x.com", role="gone")

    assert JUDGE.judge(one) is None
    stand_in = Judge(POLICY, "host").judge(one)
    assert stand_in is not None and stand_in.verdict is Verdict.ALLOW
    with pytest.raises(ConfigError, match="no role is called"):
        Judge(POLICY, "gone")
