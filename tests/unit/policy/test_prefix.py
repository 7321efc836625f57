from __future__ import annotations

from ipaddress import ip_network

import pytest

from dnsfw.model import addr_from
from dnsfw.policy.prefix import Prefix


def prefix(text: str) -> Prefix:
    return Prefix.of(ip_network(text))


@pytest.mark.parametrize(
    ("net", "bits", "text"),
    [
        ("10.20.0.0/16", 112, "10.20.0.0/16"),
        ("192.0.2.1/32", 128, "192.0.2.1"),
        ("0.0.0.0/0", 96, "0.0.0.0/0"),
        ("2001:db8::/32", 32, "[2001:db8::]/32"),
        ("2001:db8::1/128", 128, "[2001:db8::1]"),
        ("::/0", 0, "[::]/0"),
    ],
)
def test_a_prefix_is_counted_in_the_128_bit_form(net: str, bits: int, text: str) -> None:
    made = prefix(net)

    assert made.bits == bits
    assert made.text == text


def test_families_are_kept_apart() -> None:
    assert not prefix("::/0").holds(prefix("10.0.0.0/8"))
    assert prefix("0.0.0.0/0").holds(prefix("10.0.0.0/8"))
    assert prefix("::/0").holds(prefix("2001:db8::/32"))
    assert prefix("10.0.0.0/8").shortened(0) is None
    assert prefix("10.0.0.0/8").shortened(96) == prefix("0.0.0.0/0")
    assert prefix("10.0.0.0/8").shortened(128) is None


def test_a_prefix_holds_itself_and_what_is_inside() -> None:
    outer = prefix("10.20.0.0/16")

    assert outer.holds(outer)
    assert outer.holds(Prefix(addr_from("10.20.255.255"), 128))
    assert not outer.holds(Prefix(addr_from("10.21.0.0"), 128))
    assert not outer.holds(prefix("10.0.0.0/8"))


def test_the_span_is_as_wide_as_the_prefix() -> None:
    low, end = prefix("10.20.0.0/16").span

    assert end - low == 1 << 16
    assert low.to_bytes(16, "big") == addr_from("10.20.0.0")
