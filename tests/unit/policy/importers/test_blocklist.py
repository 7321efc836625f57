"""The block list of names and addresses: what each line becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import Inbound, Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.importers import FORMATS, Imported, Kept, import_text
from dnsfw.policy.policy import Policy
from dnsfw.wire.name import from_text

FIXTURE = Path(__file__).resolve().parents[3] / "data" / "imports" / "blocklist.json"
FORM = FORMATS["blocklist"]


def made(**keys: Any) -> Imported:
    return import_text(FORM, json.dumps(keys, indent=1), "policy.json")


def policy(imported: Imported) -> Policy:
    return compile_text(imported.text)


def verdict(found: Policy, name: str) -> Verdict:
    shares = found.host.judge(from_text(name)).shares
    return shares[0].verdict if shares else found.host.default


def test_each_line_of_the_example_is_told_with_its_line() -> None:
    done = import_text(FORM, FIXTURE.read_text(), "policy.json")

    assert [(f.line, f.kept, f.became) for f in done.findings if f.kept is not Kept.NOTED] == [
        (2, Kept.READ, "revision: 7"),
        (5, Kept.READ, 'deny: "ads.example.com"'),
        (6, Kept.READ, 'deny: "*.tracker.example"'),
        (9, Kept.READ, 'deny: "198.51.100.7"'),
        (10, Kept.READ, 'deny: "[2001:db8:1::66]"'),
    ]
    assert done.revision == 7


def test_names_are_refused_whichever_server_is_asked_and_what_that_closes_is_said() -> None:
    names, addresses = made(blocked_domains=["x.example"]), made(blocked_ips=["192.0.2.1"])

    assert policy(names).dns.takeover
    assert "encrypted resolvers are closed" in names.findings[0].became
    assert not policy(addresses).dns.takeover


def test_the_example_denies_its_names_and_addresses_and_nothing_else() -> None:
    found = policy(import_text(FORM, FIXTURE.read_text(), "policy.json"))

    denied = ["ads.example.com", "a.tracker.example", "a.b.tracker.example"]
    open_ = ["example.com", "x.ads.example.com", "tracker.example"]
    assert {verdict(found, name) for name in denied} == {Verdict.DENY}
    assert {verdict(found, name) for name in open_} == {Verdict.ALLOW}
    for address in ("198.51.100.7", "2001:db8:1::66"):
        for proto, port in ((6, 443), (17, 53), (1, 0)):
            decision = found.host.judge_addr(addr_from(address), proto, port)
            assert decision is not None and decision.verdict is Verdict.DENY
    assert found.host.judge_addr(addr_from("198.51.100.8"), 6, 443) is None
    assert found.revision == 7
    assert found.warnings == ()


def test_lockdown_mode_lets_nothing_out_but_replies_to_accepted_tcp() -> None:
    found = policy(made(lockdown_mode=True, blocked_domains=["ads.example.com"]))

    assert found.host.default is Verdict.DENY
    assert not [rule for rule in found.host.rules if rule.verdict is Verdict.ALLOW]
    assert found.host.access.inbound is Inbound.TCP


def test_without_lockdown_everything_else_stays_open() -> None:
    assert policy(made(lockdown_mode=False)).host.default is Verdict.ALLOW
    assert policy(made(blocked_ips=[])).host.default is Verdict.ALLOW


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("blocked_domains", "ADS.Example.COM.", "ads.example.com"),
        ("blocked_domains", " ads.example.com ", "ads.example.com"),
        ("blocked_domains", "bücher.example", "xn--bcher-kva.example"),
        ("blocked_domains", ".example.com", ".example.com"),
        ("blocked_domains", "+.example.com", "+.example.com"),
        ("blocked_domains", "ads-*.example.com", "ads-*.example.com"),
        ("blocked_domains", "192.0.2.1", "192.0.2.1"),
        ("blocked_ips", "192.0.2.0/24", "192.0.2.0/24"),
        ("blocked_ips", "[2001:db8::1]", "[2001:db8::1]"),
        ("blocked_ips", "::ffff:192.0.2.1", "192.0.2.1"),
        ("blocked_ips", "169.254.169.254", "169.254.169.254"),
    ],
)
def test_an_entry_becomes_the_rule_that_means_the_same(key: str, value: str, rule: str) -> None:
    done = made(**{key: [value]})

    assert done.lost == ()
    assert f'  - deny: "{rule}"' in done.text
    compile_text(done.text)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("blocked_domains", "http://x.example/a", "':' cannot stand in a name"),
        ("blocked_domains", "a.*.example", "a.*.example"),
        ("blocked_domains", "", "write"),
        ("blocked_domains", "x.example\n- allow: '*'", "x.example"),
        ("blocked_ips", "198.51.100.300", "no address"),
        ("blocked_ips", "fe80::1%eth0", "zone"),
        ("blocked_ips", "10.0.0.1/8", "host bits"),
        ("blocked_ips", "ads.example.com", "no address"),
    ],
)
def test_what_is_no_name_and_no_address_is_lost_and_said(key: str, value: str, says: str) -> None:
    done = made(**{key: ["192.0.2.9", value]})

    assert [found.kept for found in done.findings] == [Kept.READ, Kept.LOST]
    assert says in done.lost[0].became
    assert compile_text(done.text).host.rules[0].text == "deny 192.0.2.9"


def test_an_entry_that_stands_twice_is_one_rule() -> None:
    done = made(blocked_domains=["x.example", "X.example."])

    assert done.text.count("deny:") == 1
    assert [f.became for f in done.findings if f.kept is Kept.READ][1].startswith("the same")


def test_a_key_that_dnsfw_does_not_know_is_lost_unless_it_is_empty() -> None:
    done = made(blocked_ips=[], blocked_countries=["xx"], exceptions=[], comment=None)

    assert [found.source for found in done.lost] == ["blocked_countries: 1 entry"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"revision": "7"}, "'revision' is '7', not a whole number"),
        ({"revision": True}, "not a whole number"),
        ({"lockdown_mode": "yes"}, "'lockdown_mode' is 'yes', not true or false"),
        ({"lockdown_mode": 1}, "not true or false"),
        ({"blocked_ips": [7]}, "7 in 'blocked_ips' is no text"),
        ({"blocked_domains": [["x.example"]]}, "is no text"),
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        made(**keys)

    assert says in str(caught.value)
    assert str(caught.value).startswith("policy.json:")


@pytest.mark.parametrize("text", ["[]", '"x"', "7", "null"])
def test_a_file_that_is_no_object_is_an_error(text: str) -> None:
    with pytest.raises(PolicyError, match="no object"):
        import_text(FORM, text, "policy.json")
