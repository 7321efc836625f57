"""`dns.upstreams` and `dns.nat64_prefix` in a policy."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text, load
from dnsfw.policy.policy import Policy

PIN = b64encode(bytes(32)).decode()


def policy(dns: str) -> Policy:
    return compile_text(f"version: 1\ndefault: deny\ndns:\n  {dns}\n", "p")


def error(dns: str) -> str:
    with pytest.raises(PolicyError) as raised:
        policy(dns)
    return str(raised.value)


def test_an_upstream_may_have_keys(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    path = tmp_path / "p.yaml"
    path.write_text(
        "version: 1\ndefault: deny\ndns:\n  upstreams:\n"
        "  - {server: 'tls://dns.example', addresses: [192.0.2.1, '2001:db8::1'], ca: ca.pem,\n"
        f"     pin: 'sha256/{PIN}', trusted: true}}\n"
    )
    (found,) = load(path).dns.upstreams

    assert found is not None and found.pins == (bytes(32),) and found.trusted
    assert found.ca == str(tmp_path / "ca.pem")  # from the policy's directory
    assert [str(a) for a in found.addresses] == ["192.0.2.1", "2001:db8::1"]


@pytest.mark.parametrize(
    ("dns", "says"),
    [
        ("upstreams: [tls://dns.example]", "nobody can look up where 'tls://dns.example' is"),
        ("upstreams: ['tls://192.0.2.1', 'tls://192.0.2.1']", "stands twice"),
        ("upstreams: [{server: 192.0.2.1, trusted: true}]", "asked in clear"),
        ("upstreams: [{server: system, ca: x}]", "asked in clear"),
        ("upstreams: [{server: 'tls://192.0.2.1', addresses: [192.0.2.2]}]", "has an address"),
        ("upstreams: [{server: 'tls://a.example', addresses: [b]}]", "'b' is no address"),
        ("upstreams: [{server: 'tls://192.0.2.1', pin: abc}]", "'abc' is no pin"),
        ("upstreams: [{server: 'tls://192.0.2.1', ca: /no/such}]", "there is no such file"),
        ("upstreams: [{server: 'tls://192.0.2.1', pins: [a]}]", "did you mean 'pin'?"),
        ("upstreams: [{pin: abc}]", "key 'server' is missing"),
        ("upstreams: [5]", "not the number 5"),
        ("upstreams: ['quic://192.0.2.1']", "asked over 'quic'"),
        ("nat64_prefix: 10.0.0.0/8", "is no IPv6 prefix"),
        ("nat64_prefix: 2001:db8::/95", "is no NAT64 prefix"),
        ("nat64_prefix: '2001:db8:0:0:100::/96'", "is no NAT64 prefix"),
    ],
)
def test_what_cannot_be_is_an_error_at_its_place(dns: str, says: str) -> None:
    told = error(dns)

    assert says in told and told.startswith("p:4:")


def test_a_plain_upstream_beside_an_encrypted_one_is_told_what_it_is_for() -> None:
    some = policy("upstreams: [tls://dns.example, 9.9.9.9, system]")

    told = [warning.message for warning in some.warnings]
    assert len(told) == 2 and all("no question goes out in clear" in text for text in told)


def test_prefixes_of_a_translator() -> None:
    some = policy("nat64_prefix: ['2001:db8:64::/96', '2001:db8:65::/48']")

    assert [str(net) for net in some.dns.nat64] == ["2001:db8:64::/96", "2001:db8:65::/48"]
    assert [str(net) for net in policy("nat64_prefix: 2001:db8:64::/96").dns.nat64] == [
        "2001:db8:64::/96"
    ]
