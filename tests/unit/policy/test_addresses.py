"""Address rules: the kernel's lists, against what the language says of prefixes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from dnsfw.datapath import abi
from dnsfw.errors import PolicyError
from dnsfw.model import HOST, FixedEntry, Nanos, Reason, Verdict, addr_from
from dnsfw.policy.addresses import METADATA, AddressTable
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.prefix import Prefix

TCP, UDP, ICMP = 6, 17, 1


def role(*rules: str, default: str = "deny") -> RolePolicy:
    lines = [f"version: 1\ndefault: {default}"] + ["rules:"] * bool(rules)
    for rule in rules:
        verdict, _, what = rule.partition(" ")
        lines.append(f'  - {verdict}: "{what}"')
    return compile_text("\n".join(lines)).host


def says(policy: RolePolicy, addr: str, proto: int = TCP, port: int = 443) -> str | None:
    found = policy.judge_addr(addr_from(addr), proto, port)
    if found is None:
        return None
    return found.rule.text if found.rule else found.reason.name


def kernel_says(policy: RolePolicy, addr: str, proto: int = TCP, port: int = 443) -> str | None:
    """What the kernel does: the one entry of the longest prefix, its first rule that covers."""
    number = int.from_bytes(addr_from(addr), "big")
    inside = [
        entry
        for entry in policy.addresses.entries
        if (number ^ int.from_bytes(entry.addr, "big")) >> (128 - entry.bits) == 0
    ]
    if not inside:
        return None
    entry: FixedEntry = max(inside, key=lambda e: e.bits)
    for rule in entry.rules:
        if rule.ports.covers(proto, port):
            known = policy.rules_by_id.get(rule.rule)
            return known.text if known else "BUILTIN"
    return None


VECTORS = [
    ("longest", ["allow 10.0.0.0/8", "deny 10.1.0.0/16"], "10.1.2.3", "deny 10.1.0.0/16"),
    ("longest", ["allow 10.0.0.0/8", "deny 10.1.0.0/16"], "10.2.2.3", "allow 10.0.0.0/8"),
    ("one address", ["deny 10.0.0.0/8", "allow 10.1.2.3"], "10.1.2.3", "allow 10.1.2.3"),
    (
        "among the rules that cover the port",
        ["allow 10.0.0.0/8:443", "deny 10.1.0.0/16:80"],
        "10.1.2.3",
        "allow 10.0.0.0/8:443",
    ),
    ("no rule covers the port", ["allow 10.0.0.0/8:80"], "10.1.2.3", None),
    ("no rule covers the address", ["allow 10.0.0.0/8"], "11.1.2.3", None),
    ("IPv6", ["allow [2001:db8::]/32", "deny [2001:db8::9]"], "2001:db8::9", "deny [2001:db8::9]"),
    ("[::]/0 is IPv6 alone", ["allow [::]/0"], "192.0.2.1", None),
    ("[::]/0 is IPv6 alone", ["allow [::]/0"], "2001:db8::1", "allow [::]/0"),
    ("short IPv6 too", ["deny [::]/64", "allow 0.0.0.0/0"], "192.0.2.1", "allow 0.0.0.0/0"),
    ("short IPv6 too", ["deny [::]/1"], "10.0.0.1", None),
    ("0.0.0.0/0 is IPv4 alone", ["allow 0.0.0.0/0"], "2001:db8::1", None),
    ("metadata", [], "169.254.169.254", "BUILTIN"),
    ("metadata", [], "fd00:ec2::254", "BUILTIN"),
    ("metadata under a wide allow", ["allow 0.0.0.0/0"], "169.254.169.254", "BUILTIN"),
    ("metadata under a near allow", ["allow 169.254.0.0/16"], "169.254.169.254", "BUILTIN"),
    ("its neighbour under a wide allow", ["allow 0.0.0.0/0"], "169.254.169.253", "allow 0.0.0.0/0"),
    ("lifted from inside", ["allow 169.254.169.254"], "169.254.169.254", "allow 169.254.169.254"),
    ("lifted for one port", ["allow 169.254.169.254:80"], "169.254.169.254", "BUILTIN"),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "rules", "addr", "wins"), VECTORS)
@pytest.mark.parametrize("turn", [1, -1], ids=["written", "reversed"])
def test_the_longest_prefix_that_covers_the_port_wins_here_and_in_the_kernels_list(
    sentence: str, rules: list[str], addr: str, wins: str | None, turn: int
) -> None:
    policy = role(*rules[::turn])

    assert says(policy, addr) == wins, sentence
    assert kernel_says(policy, addr) == wins, sentence


def test_row_30_every_metadata_cousin_is_denied_under_default_deny() -> None:
    policy = role("allow 0.0.0.0/0", "allow [::]/0")

    for prefix in METADATA:
        found = policy.judge_addr(prefix.addr, TCP, 80)
        assert found is not None
        assert (found.verdict, found.reason) == (Verdict.DENY, Reason.BUILTIN)


@pytest.mark.parametrize(
    "addr",
    ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"],
)
def test_row_30_metadata_is_open_under_default_allow_unless_denied(addr: str) -> None:
    assert says(role(default="allow"), addr) is None
    assert says(role("deny metadata", default="allow"), addr) == "BUILTIN"


def test_row_30_metadata_in_a_prefix_rule_on_another_port_stays_closed() -> None:
    policy = role("allow 169.254.169.254:80/tcp")

    assert says(policy, "169.254.169.254", TCP, 80) == "allow 169.254.169.254:80/tcp"
    assert says(policy, "169.254.169.254", TCP, 81) == "BUILTIN"
    assert says(policy, "169.254.169.254", ICMP, 0) == "BUILTIN"


def test_row_29_private_ranges_are_never_implied() -> None:
    policy = role("allow x.com")

    for addr in ("10.1.2.3", "172.17.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"):
        assert not policy.allows_private(addr_from(addr))
        assert says(policy, addr) is None


def test_an_address_rule_lets_answers_hold_a_private_address() -> None:
    policy = role("allow 10.0.0.0/8:443")

    assert policy.allows_private(addr_from("10.1.2.3"))
    assert not policy.allows_private(addr_from("192.168.1.1"))


def test_every_list_holds_the_rules_of_the_prefixes_around_it() -> None:
    policy = role("allow 10.0.0.0/8:1", "allow 10.1.0.0/16:2", "allow 10.1.1.0/24:3")

    by_bits = {e.bits: e for e in policy.addresses.entries if e.addr == addr_from("10.1.1.0")}
    rules = [policy.rules_by_id[rule.rule].text for rule in by_bits[120].rules]

    assert rules == ["allow 10.1.1.0/24:3", "allow 10.1.0.0/16:2", "allow 10.0.0.0/8:1"]


def test_lines_that_can_never_decide_take_no_room() -> None:
    policy = role("allow 10.0.0.0/8", "deny 10.1.0.0/16")

    (entry,) = [e for e in policy.addresses.entries if e.bits == 112]
    assert len(entry.rules) == 1


def test_v4_gets_an_entry_of_its_own_where_a_v6_prefix_spans_it() -> None:
    mapped = Prefix.of(ip_network("0.0.0.0/0"))

    bits = [(e.addr, e.bits) for e in role("allow [::]/0").addresses.entries]
    assert (mapped.addr, 96) in bits
    (entry,) = [e for e in role("allow [::]/0").addresses.entries if e.bits == 96]
    assert entry.rules == ()
    bits = [(e.addr, e.bits) for e in role("allow [2001:db8::]/32").addresses.entries]
    assert (mapped.addr, 96) not in bits


def test_sixteen_rules_fit_one_list_and_a_seventeenth_is_an_error_with_a_remedy() -> None:
    rules = [f"allow 10.0.0.0/8:{port}/tcp" for port in range(1, 17)]

    (entry,) = [e for e in role(*rules, default="allow").addresses.entries]
    assert len(entry.rules) == abi.Limit.FIXED_ENTRIES
    with pytest.raises(PolicyError, match=r"17 address rules cover 10\.0\.0\.0/8, 16 fit; join"):
        role(*rules, "allow 10.0.0.0/8:99/tcp", default="allow")


def test_shares_of_an_address_are_disjoint_and_in_order() -> None:
    policy = role("deny 10.1.0.0/16:443/tcp", "allow 10.0.0.0/8/tcp")

    first, second = policy.addr_shares(addr_from("10.1.2.3"))

    assert first.verdict is Verdict.DENY
    assert not second.ports.covers(TCP, 443)
    assert second.ports.covers(TCP, 80)


def test_reachable_leaves_what_address_rules_do_not_close() -> None:
    policy = role("deny 198.51.100.0/24:25/tcp", default="allow")
    ports = compile_text("version: 1\ndefault: deny\nrules: [allow: x.com/tcp]").host.rules[0].ports

    left = policy.reachable(addr_from("198.51.100.7"), ports)

    assert not left.covers(TCP, 25)
    assert left.covers(TCP, 443)
    assert policy.reachable(addr_from("192.0.2.7"), ports) == ports


def test_a_tie_goes_to_deny_whichever_came_first() -> None:
    # No file can say this (it is an error there), but rules come from elsewhere too.
    (allow,) = role("allow 10.0.0.0/8").rules
    (deny,) = role("deny 10.0.0.0/8").rules

    for order in ((allow, deny), (deny, allow)):
        table = AddressTable(HOST, order, metadata=False)
        (share,) = table.shares(addr_from("10.1.2.3"))
        assert share.rule is deny
        assert [rule.rule for rule in table.entries[0].rules] == [deny.id]


def test_what_stands_behind_a_temporary_rule_stays_for_when_it_ends() -> None:
    (deny,) = role("deny 10.0.0.0/8").rules
    (allow,) = role("allow 10.0.0.0/8").rules
    temporary = replace(allow, until=Nanos(1))

    table = AddressTable(HOST, (deny, temporary), metadata=False)

    assert [(r.rule, r.ends) for r in table.entries[0].rules] == [
        (temporary.id, True), (deny.id, False),
    ]  # fmt: skip
    (share,) = table.shares(addr_from("10.1.2.3"))
    assert share.rule is temporary
