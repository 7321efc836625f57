from __future__ import annotations

from ipaddress import ip_address

import pytest

from dnsfw.model import addr_from
from dnsfw.policy.endpoints import parse_endpoint, parse_upstream
from dnsfw.policy.policy import Endpoint
from dnsfw.policy.problems import Wrong


@pytest.mark.parametrize(
    ("text", "addr", "port"),
    [
        ("127.0.53.53:53", "127.0.53.53", 53),
        ("127.0.53.53", "127.0.53.53", 53),
        ("[::1]:5353", "::1", 5353),
        ("[::1]", "::1", 53),
        ("2620:fe::fe", "2620:fe::fe", 53),
    ],
)
def test_an_endpoint_is_an_address_and_perhaps_a_port(text: str, addr: str, port: int) -> None:
    assert parse_endpoint(text) == Endpoint(addr_from(addr), port)


@pytest.mark.parametrize(
    "text",
    ["", "localhost:53", "127.0.0.1:0", "127.0.0.1:65536", "[::1]:", "[127.0.0.1", "::1]:53",
     "fe80::1%lo", "1.2.3.4:53:53", "127.0.0.1 :53"],
)  # fmt: skip
def test_what_is_no_endpoint_is_wrong(text: str) -> None:
    with pytest.raises(Wrong):
        parse_endpoint(text)


def test_system_is_no_address() -> None:
    assert parse_upstream("system") is None
    found = parse_upstream("9.9.9.9")
    assert found is not None and not found.encrypted
    assert (str(found), found.addresses) == ("9.9.9.9:53", (ip_address("9.9.9.9"),))


@pytest.mark.parametrize("text", ["tls://dns.quad9.net", "https://dns.quad9.net/dns-query"])
def test_encrypted_upstreams_are_not_taken_for_plain_ones(text: str) -> None:
    found = parse_upstream(text)

    assert found is not None and found.encrypted and str(found) == text


def test_a_name_is_no_upstream() -> None:
    with pytest.raises(Wrong) as wrong:
        parse_upstream("dns.quad9.net")

    assert "'9.9.9.9'" in wrong.value.remedy
