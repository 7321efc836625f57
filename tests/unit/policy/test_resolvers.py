"""`deny: encrypted-dns`: rows 58 and 59 as far as a policy goes."""

from __future__ import annotations

import pytest

from dnsfw.model import Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.pattern import parse_pattern
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.resolvers import RESOLVERS
from dnsfw.wire.name import from_text

DENY = "deny: encrypted-dns"


def host(default: str, *lines: str, dns: str = "{}") -> RolePolicy:
    rules = "".join(f"\n  - {line}" for line in lines)
    head = f"version: 1\ndefault: {default}\n"
    takeover = f"dns: {dns}\n" if dns != "{}" else ""
    return compile_text(head + takeover + (f"rules:{rules}" if lines else ""), "p").host


def answered(role: RolePolicy, name: str) -> bool:
    return role.judge(from_text(name)).answered


def verdict(role: RolePolicy, name: str, port: int) -> Verdict:
    return role.judge(from_text(name)).share(6, port).verdict


def blocked(role: RolePolicy, addr: str, proto: int, port: int) -> bool:
    found = role.judge_addr(addr_from(addr), proto, port)
    return found is not None and found.verdict is Verdict.DENY


@pytest.mark.parametrize("default", ["allow", "deny"])
@pytest.mark.parametrize(
    "name", ["dns.google", "x.dns.google", "mozilla.cloudflare-dns.com", "abc12.dns.nextdns.io"]
)
def test_row_59_well_known_resolvers_are_refused_as_names_under_any_default(
    default: str, name: str
) -> None:
    assert not answered(host(default, DENY, '{allow: "*", broad: true}'), name)
    assert answered(host(default, '{allow: "*", broad: true}'), name), "without the word"
    assert answered(host("allow", DENY), "www.google.com"), "a web site is no resolver"


@pytest.mark.parametrize("addr", ["1.1.1.1", "203.0.113.9", "2606:4700:4700::1111"])
@pytest.mark.parametrize(("proto", "port"), [(6, 853), (17, 853), (17, 784), (17, 8853)])
@pytest.mark.parametrize("default", ["allow", "deny"])
def test_row_58_the_ports_of_dot_and_doq_are_closed_for_every_address(
    default: str, addr: str, proto: int, port: int
) -> None:
    assert blocked(host(default, DENY), addr, proto, port)
    assert not blocked(host("allow"), addr, proto, port), "without the word"
    assert not blocked(host(default, DENY), addr, 6, 443)
    assert not blocked(host(default, DENY), addr, proto, port - 1)
    assert not blocked(host(default, DENY), addr, proto, port + 1)
    assert not blocked(host(default, DENY), addr, 132, port), "SCTP is not theirs"


def test_row_59_their_addresses_are_closed_under_default_allow() -> None:
    closing = {name for name, _ in host("allow", DENY).closes}

    assert closing == {from_text(name) for name in RESOLVERS}
    assert host("deny", DENY).closes == ()


@pytest.mark.parametrize(
    "allow",
    [
        "dns.google:443",
        ".dns.google:443",
        '"*.dns.google:443"',
        "[dns.google:443, a.dns.google:443]",
    ],
)
def test_an_explicit_allow_lifts_it_for_its_ports(allow: str) -> None:
    role = host("allow", DENY, f"allow: {allow}")
    name = "a.dns.google" if "*" in allow else "dns.google"

    assert verdict(role, name, 443) is Verdict.ALLOW
    assert verdict(role, name, 80) is Verdict.DENY
    assert not answered(role, "dns.quad9.net")


def test_a_wider_allow_does_not_lift_it() -> None:
    role = host("deny", DENY, '{allow: "*.google", broad: true}', "allow: .cloudflare.com:443")

    assert answered(role, "x.google")
    assert not answered(role, "dns.google")
    assert not answered(role, "dns.cloudflare.com")


def test_a_longer_prefix_or_a_named_port_lifts_the_ports() -> None:
    role = host("allow", DENY, "allow: 9.9.9.9:853/tcp", "allow: 10.0.0.0/8")

    assert not blocked(role, "9.9.9.9", 6, 853)
    assert blocked(role, "9.9.9.9", 17, 853)
    assert not blocked(role, "10.1.1.1", 6, 853)
    assert blocked(host("allow", DENY, "allow: 0.0.0.0/0"), "192.0.2.1", 6, 853)
    named = host("allow", DENY, "allow: 0.0.0.0/0:853/tcp")
    assert not blocked(named, "192.0.2.1", 6, 853)
    assert blocked(named, "192.0.2.1", 17, 853)
    assert blocked(named, "2001:db8::1", 6, 853)
    assert blocked(host("allow", DENY, "allow: 0.0.0.0/0/tcp"), "192.0.2.1", 6, 853)
    assert blocked(host("allow", DENY, "allow: 0.0.0.0/0/udp"), "192.0.2.1", 17, 853)


def test_a_name_rule_for_a_closed_port_is_a_warning() -> None:
    policy = compile_text(
        "version: 1\ndefault: deny\nrules: [deny: encrypted-dns, allow: dot.example.com:853]", "p"
    )

    (warning,) = policy.warnings
    assert str(warning) == (
        "p:3:37: 'allow dot.example.com:853' does not open DNS over TLS: encrypted-dns closes its "
        "port; allow the address as well: 'allow: 192.0.2.1:853/tcp'"
    )
    quiet = (
        "version: 1\ndefault: deny\nrules: [deny: encrypted-dns, allow: x.com, allow: y.com:443]"
    )
    assert not compile_text(quiet).warnings


@pytest.mark.parametrize(
    ("default", "dns", "implied"),
    [
        ("allow", "{takeover: true}", True),
        ("deny", "{takeover: true}", False),
        ("allow", "{takeover: false}", False),
    ],
)
def test_takeover_under_default_allow_implies_it(default: str, dns: str, implied: bool) -> None:
    role = host(default, dns=dns)

    assert bool(role.implied) is implied
    assert blocked(role, "192.0.2.1", 6, 853) is implied


def test_each_role_by_its_own_default() -> None:
    policy = compile_text(
        "version: 1\ndefault: deny\nroles: {a: {default: allow}, b: {default: deny}}\n"
        "dns: {takeover: true}"
    )
    implied = {role.name: bool(role.implied) for role in policy.roles.values()}

    assert implied == {"host": False, "a": True, "b": False}
    ids = [rule for role in policy.roles.values() for rule in role.rules_by_id]
    assert set(ids) <= policy.plan().rules


def test_the_word_stands_for_rules_with_its_place_that_are_not_counted_as_written() -> None:
    role = host("allow", "allow: x.com", DENY)
    rule = role.judge(from_text("dns.google")).rule

    assert rule is not None
    assert (rule.text, str(rule.where)) == ("deny encrypted-dns .dns.google", "p:5:11")
    assert [r.text for r in role.rules] == ["allow x.com"]
    assert role.rules_by_id[rule.id] is rule


def test_the_list_is_names_of_services_without_repetition() -> None:
    assert len(RESOLVERS) > 50
    assert len(set(RESOLVERS)) == len(RESOLVERS)
    for name in RESOLVERS:
        assert not parse_pattern(f".{name}").broad, name
        assert not any(name.endswith("." + other) for other in RESOLVERS), f"{name} twice"
