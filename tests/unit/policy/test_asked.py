"""What may be asked about."""

from __future__ import annotations

import pytest

from dnsfw.errors import ConfigError
from dnsfw.policy.asked import parse_asked
from dnsfw.policy.ports import KNOWN


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Example.COM", "example.com"),
        ("example.com:443", "example.com:443/tcp"),
        ("example.com:53/udp", "example.com:53/udp"),
        ("192.0.2.1:80", "192.0.2.1:80/tcp"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443/tcp"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_a_port_alone_means_tcp(text: str, shown: str) -> None:
    assert parse_asked(text).text == shown


def test_a_host_alone_means_everything() -> None:
    assert parse_asked("example.com").ports == KNOWN


@pytest.mark.parametrize("text", ["10.0.0.0/8", "a.com:80-90", "a..com", "[x]:1", "a.com/quic"])
def test_what_is_no_one_destination_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_asked(text)
