"""A query and its answer, without a socket."""

from __future__ import annotations

from dnsfw.engine.rehearsal import open_ports, rehearse
from dnsfw.model import HOST, Addr, Grant, Name, Nanos, RuleId, Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.policy.ports import KNOWN, parse_ports
from dnsfw.wire.name import from_text

WWW = from_text("www.x.com")
PUBLIC, PRIVATE = addr_from("192.0.2.7"), addr_from("10.0.0.7")


def policy(default: str, rules: str) -> Policy:
    return compile_text(f"version: 1\ndefault: {default}\nrules: [{rules}]")


def told(made: Policy, chain: list[Name], *addresses: Addr) -> set[Addr]:
    return rehearse(made, HOST, WWW, chain, addresses).told


def test_what_is_told_is_open_and_what_is_taken_out_is_neither() -> None:
    made = policy("deny", "allow: '*.x.com:443'")
    found = rehearse(made, HOST, WWW, [], [PUBLIC, PRIVATE, addr_from("2001:db8::7")])

    assert found.told == {PUBLIC, addr_from("2001:db8::7")} == set(found.entries)
    ports = open_ports(made.host, PUBLIC, found.entries[PUBLIC], KNOWN)
    assert ports.covers(6, 443) and not ports.covers(6, 80)
    assert not open_ports(made.host, PRIVATE, None, KNOWN)


def test_under_default_allow_a_denied_name_on_the_chain_takes_all_addresses_out() -> None:
    made = policy("allow", "deny: .tracker.example")

    assert told(made, [from_text("t.tracker.example")], PUBLIC) == set()
    assert told(made, [from_text("cdn.example")], PUBLIC) == {PUBLIC}


def test_address_rules_beat_names_and_closing_grants_beat_opening_ones() -> None:
    made = policy("deny", "allow: '*.x.com', deny: 192.0.2.7:25/tcp, allow: 10.0.0.0/8:5432")
    grants = rehearse(made, HOST, WWW, [], [PUBLIC]).entries[PUBLIC]

    assert not open_ports(made.host, PUBLIC, grants, parse_ports("25", "tcp"))
    assert open_ports(made.host, PUBLIC, grants, parse_ports("26", "tcp"))
    assert open_ports(made.host, PRIVATE, None, parse_ports("5432", "tcp"))
    closing = Grant(Nanos(1), RuleId(9), parse_ports("26", "tcp"), Verdict.DENY)
    closed = grants._replace(grants=(closing, *grants.grants))
    assert not open_ports(made.host, PUBLIC, closed, parse_ports("26", "tcp"))


def test_it_leaves_the_policy_as_it_was() -> None:
    made = policy("deny", "allow: '*.x.com'")

    assert told(made, [], PUBLIC) == told(made, [], PUBLIC) == {PUBLIC}
