"""Upstreams as they are written."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest

from dnsfw.policy.endpoints import parse_upstream
from dnsfw.policy.problems import Wrong
from dnsfw.policy.upstream import (
    Upstream,
    asked,
    believes,
    helpers,
    parse_pin,
    parse_url,
    unreachable,
)


@pytest.mark.parametrize(
    ("text", "host", "port", "name", "path"),
    [
        ("tls://dns.quad9.net", "dns.quad9.net", 853, "dns.quad9.net", ""),
        ("tls://9.9.9.9#dns.quad9.net", "9.9.9.9", 853, "dns.quad9.net", ""),
        ("tls://9.9.9.9", "9.9.9.9", 853, "9.9.9.9", ""),
        ("tls://[2620:fe::fe]:8853#Dns.Quad9.Net.", "2620:fe::fe", 8853, "dns.quad9.net", ""),
        ("https://dns.quad9.net/dns-query", "dns.quad9.net", 443, "dns.quad9.net", "/dns-query"),
        ("https://dns.example", "dns.example", 443, "dns.example", "/dns-query"),
        ("https://192.0.2.1:8443/q?a=b#dns.example", "192.0.2.1", 8443, "dns.example", "/q?a=b"),
    ],
)
def test_an_encrypted_upstream_is_a_url(
    text: str, host: str, port: int, name: str, path: str
) -> None:
    found = parse_url(text)

    assert (found.host, found.port, found.name, found.path) == (host, port, name, path)
    assert found.encrypted and bool(found.addresses) is not host.endswith(("net", "example"))


@pytest.mark.parametrize(
    "text",
    [
        "tls://", "tls:///", "tls://a b", "tls://-x.example", "tls://x.example:0", "tls://[::1",
        "tls://x.example:70000", "tls://1.2.3", "tls://x.example/path", "https://x.example/ä",
        "https://x.example/a b", "tls://x.example#", "tls://x.example#a b", "tcp://x.example",
        "tcp://9.9.9.9#x.example", "quic://9.9.9.9", "sdns://AgcAAA", "tls://0.0.0.0",
        "tls://[ff02::1]", "tls://[fe80::1%lo]", "tls://" + "a." * 130 + "net",
        "https://x.example/\r\nHost:y", "https://user@x.example/",
    ],
)  # fmt: skip
def test_what_is_no_upstream_is_wrong(text: str) -> None:
    with pytest.raises(Wrong):
        parse_url(text)


@pytest.mark.parametrize(
    "text",
    ["9.9.9.9:53", "[2620:fe::fe]:5353", "tcp://9.9.9.9", "tls://dns.quad9.net:8853",
     "tls://9.9.9.9#dns.quad9.net", "https://[2001:db8::1]/dns-query#dns.example"],
)  # fmt: skip
def test_an_upstream_is_shown_as_it_is_written(text: str) -> None:
    assert str(parse_upstream(text)) == text


def test_a_pin_is_a_sha256_in_base64() -> None:
    digest = hashlib.sha256(b"key").digest()
    text = b64encode(digest).decode()

    assert parse_pin(text) == parse_pin(f"sha256/{text}") == digest
    for wrong in ("", "sha256/", text[:-4], "sha1/" + text, "ä" * 44):
        with pytest.raises(Wrong):
            parse_pin(wrong)


def of(*texts: str) -> list[Upstream]:
    return [u for text in texts if (u := parse_upstream(text)) is not None]


def test_beside_an_encrypted_upstream_a_plain_one_is_never_asked() -> None:
    some = of("9.9.9.9", "tls://dns.quad9.net", "tcp://1.1.1.1", "https://1.1.1.1/dns-query")

    assert [u.scheme for u in asked(some)] == ["tls", "https"]
    assert [u.scheme for u in helpers(some)] == ["udp", "tcp"]
    plain = of("9.9.9.9", "tcp://1.1.1.1")
    assert list(asked(plain)) == plain and not helpers(plain)


def test_a_name_needs_somebody_with_an_address() -> None:
    assert unreachable(of("tls://dns.quad9.net", "9.9.9.9")) is None
    assert unreachable([*of("tls://dns.quad9.net"), None]) is None
    assert unreachable(of("tls://dns.quad9.net", "tls://9.9.9.9#dns.quad9.net")) is None
    assert unreachable(of()) is None
    wrong = unreachable(of("https://dns.example/q"))
    assert wrong is not None and "https://9.9.9.9/q#dns.example" in wrong.remedy


def test_row_123_whose_ad_bit_is_believed() -> None:
    assert not any(map(believes, of("9.9.9.9", "tls://9.9.9.9", "tls://127.0.0.1")))
    assert all(map(believes, of("127.0.0.1", "[::1]:53")))
    assert believes(Upstream("tls", "x", 853, "x", trusted=True))
