"""Names of addresses."""

from __future__ import annotations

import pytest

from dnsfw.engine.reverse import address_of
from dnsfw.model import addr_from
from dnsfw.wire.name import from_text

V6 = ".".join("f000000000000000000000008bd01002") + ".ip6.arpa"


@pytest.mark.parametrize(
    ("name", "addr"),
    [("7.2.0.192.in-addr.arpa", "192.0.2.7"), ("0.0.0.0.IN-ADDR.arpa", "0.0.0.0")],
)
def test_row_65_a_whole_reverse_name_is_an_address(name: str, addr: str) -> None:
    assert address_of(from_text(name)) == addr_from(addr)


def test_row_65_so_are_its_nibbles() -> None:
    assert address_of(from_text(V6)) == addr_from("2001:db8::f")


@pytest.mark.parametrize(
    "name",
    [
        "007.2.0.192.in-addr.arpa",  # a second spelling would carry something
        "256.2.0.192.in-addr.arpa",
        "2.0.192.in-addr.arpa",
        "x.7.2.0.192.in-addr.arpa",
        "b.dns-sd._udp.0.2.0.192.in-addr.arpa",
        "7.2.0.192.in-addr.arpa.example",
        "in-addr.arpa",
        "arpa",
        ".",
        V6[2:],
        "g" + V6[1:],
        "0f" + V6[1:],
        ".".join("702000c0ffff00000000000000000000") + ".ip6.arpa",  # 192.0.2.7, mapped
    ],
)
def test_row_65_nothing_else_is(name: str) -> None:
    assert address_of(from_text(name)) is None
