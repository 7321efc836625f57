"""Which upstreams `system` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import ConfigError
from dnsfw.policy.upstream import asked, helpers
from dnsfw.server.address import parse_endpoint
from dnsfw.server.resolvconf import find_upstreams

OURS = [parse_endpoint("127.0.53.53")]


def conf(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def texts(found: tuple[object, ...]) -> list[str]:
    return [str(endpoint) for endpoint in found]


def test_system_means_the_nameservers_of_resolv_conf(tmp_path: Path) -> None:
    path = conf(
        tmp_path,
        "resolv.conf",
        "# by hand\nsearch a.example\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions x\n",
    )

    assert texts(find_upstreams(["system"], OURS, path, ())) == [
        "192.0.2.1:53",
        "[2001:db8::1]:53",
    ]


def test_behind_a_stub_its_own_list_is_used(tmp_path: Path) -> None:
    stub = conf(tmp_path, "resolv.conf", "nameserver 127.0.0.53\n")
    real = conf(tmp_path, "real.conf", "nameserver 192.0.2.9\n")

    assert texts(find_upstreams(["system"], OURS, stub, [tmp_path / "no", real])) == [
        "192.0.2.9:53"
    ]


@pytest.mark.parametrize("text", ["nameserver 127.0.53.53\n", "nameserver 127.0.0.53\n", ""])
def test_a_stub_or_dnsfw_itself_is_never_the_upstream(tmp_path: Path, text: str) -> None:
    path = conf(tmp_path, "resolv.conf", text)

    with pytest.raises(ConfigError, match="--upstream"):
        find_upstreams(["system"], OURS, path, ())


def test_our_own_address_on_a_network_is_never_the_upstream(tmp_path: Path) -> None:
    path = conf(tmp_path, "resolv.conf", "nameserver 192.0.2.53\nnameserver 192.0.2.1\n")
    ours = [parse_endpoint("192.0.2.53")]

    assert texts(find_upstreams(["system"], ours, path, ())) == ["192.0.2.1:53"]


def test_naming_ourselves_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="itself"):
        find_upstreams(["127.0.53.53"], OURS)


def test_loopback_below_a_wildcard_listener_is_ourselves() -> None:
    with pytest.raises(ConfigError, match="itself"):
        find_upstreams(["127.0.0.1:5300"], [parse_endpoint("0.0.0.0:5300")])


def test_a_resolver_on_another_port_of_this_host_is_fine() -> None:
    assert texts(find_upstreams(["127.0.53.53:5300"], OURS)) == ["127.0.53.53:5300"]


@pytest.mark.parametrize("text", ["tls://dns.example", "https://dns.example/dns-query"])
def test_a_name_that_nobody_could_look_up_is_a_mistake_with_its_remedy(text: str) -> None:
    with pytest.raises(ConfigError, match=r"nobody can look up .*#dns.example"):
        find_upstreams([text], OURS)

    found = find_upstreams([text, "9.9.9.9"], OURS)
    assert [str(one) for one in asked(found)] == [text]
    assert [str(one) for one in helpers(found)] == ["9.9.9.9:53"]


@pytest.mark.parametrize("text", ["quic://dns.example", "tls://", "tls://0.0.0.0", "https://a b/"])
def test_what_is_no_upstream_is_a_mistake(text: str) -> None:
    with pytest.raises(ConfigError, match=r"tls://9\.9\.9\.9#dns\.quad9\.net"):
        find_upstreams([text], OURS)


def test_an_upstream_named_twice_is_asked_once(tmp_path: Path) -> None:
    path = conf(tmp_path, "resolv.conf", "nameserver 192.0.2.1\nnameserver 192.0.2.1\n")

    assert texts(find_upstreams(["192.0.2.1", "system"], OURS, path, ())) == ["192.0.2.1:53"]


def test_garbage_in_resolv_conf_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_bytes(b"\xff\xfe nameserver\nnameserver not.an.address\nnameserver 0.0.0.0\n")

    with pytest.raises(ConfigError, match="names no nameserver; name a resolver"):
        find_upstreams(["system"], OURS, path, ())
