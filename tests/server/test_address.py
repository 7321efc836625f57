"""Endpoints as people write them."""

from __future__ import annotations

import pytest

from dnsfw.errors import ConfigError
from dnsfw.server.address import parse_endpoint


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("9.9.9.9", "9.9.9.9:53"),
        ("9.9.9.9:5353", "9.9.9.9:5353"),
        ("9.9.9.9@5353", "9.9.9.9:5353"),
        ("2620:fe::fe", "[2620:fe::fe]:53"),
        ("[2620:fe::fe]", "[2620:fe::fe]:53"),
        ("[2620:FE::fe]:853", "[2620:fe::fe]:853"),
        ("2620:fe::fe@853", "[2620:fe::fe]:853"),
        (" 127.0.53.53:53 ", "127.0.53.53:53"),
    ],
)
def test_every_way_to_write_an_endpoint_is_read(text: str, shown: str) -> None:
    assert str(parse_endpoint(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dns.example",
        "9.9.9",
        "9.9.9.9:0",
        "9.9.9.9:65536",
        "9.9.9.9:x",
        "[::1",
        "[::1]x",
        "::1:",
    ],
)
def test_what_is_no_endpoint_is_the_operators_mistake(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_endpoint(text)


def test_a_port_of_other_digits_is_refused() -> None:
    with pytest.raises(ConfigError, match="a port is"):
        parse_endpoint("9.9.9.9:\u0665\u0663")


def test_the_scope_of_a_link_local_address_is_its_interface() -> None:
    assert parse_endpoint("fe80::1%lo").sockaddr == ("fe80::1", 53, 0, 1)


def test_an_unknown_interface_is_named() -> None:
    with pytest.raises(ConfigError, match="nosuch0"):
        _ = parse_endpoint("fe80::1%nosuch0").sockaddr
