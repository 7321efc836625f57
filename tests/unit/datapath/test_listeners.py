"""Where dnsfw answers, as the hooks see it."""

from __future__ import annotations

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.listeners import Listener, Listeners
from dnsfw.datapath.memory import MemoryMap, memory_maps
from dnsfw.datapath.tables import number_key
from dnsfw.errors import ConfigError
from dnsfw.model import addr_from

NETNS = 77
HERE = Listener(addr_from("127.0.53.53"), 53)
HERE6 = Listener(addr_from("::1"), 53)


def made(maps: dict[str, MemoryMap]) -> Listeners:
    return Listeners(maps["dnsfw_listeners"], maps["dnsfw_settings"], NETNS)


def settings(maps: dict[str, MemoryMap]) -> abi.Settings:
    return abi.Settings.unpack(maps["dnsfw_settings"].data[number_key(0)])


def registered(maps: dict[str, MemoryMap]) -> set[abi.ListenerKey]:
    return {abi.ListenerKey.unpack(key) for key in maps["dnsfw_listeners"].data}


def test_listeners_replace_those_of_before() -> None:
    maps = memory_maps()
    made(maps).register([HERE])

    made(maps).register([HERE6])

    assert registered(maps) == {abi.ListenerKey(NETNS, HERE6.addr, 53)}
    assert settings(maps).dns_port == 53


def test_another_namespaces_listeners_are_left_alone() -> None:
    maps = memory_maps()
    other = abi.ListenerKey(78, HERE.addr, 53)
    maps["dnsfw_listeners"].update(other.pack(), b"\1")

    made(maps).register([HERE])

    assert other in registered(maps)


def test_listeners_on_different_ports_are_the_operators_mistake() -> None:
    maps = memory_maps()

    with pytest.raises(ConfigError, match="53, 5353"):
        made(maps).register([HERE, Listener(HERE.addr, 5353)])
    assert registered(maps) == set()


def test_no_listener_means_no_port_to_look_for() -> None:
    maps = memory_maps()
    made(maps).register([HERE])

    made(maps).register([])

    assert settings(maps).dns_port == 0


def test_the_hosts_namespace_is_settled_without_losing_the_port() -> None:
    maps = memory_maps()
    made(maps).register([HERE])

    made(maps).settle(99, only_netns=True)

    assert settings(maps) == abi.Settings(99, 1, 53, 0)


def test_a_failed_start_restores_the_settings() -> None:
    maps = memory_maps()
    made(maps).settle(99, only_netns=True)

    before = made(maps).settle(100, only_netns=False)
    made(maps).restore(before)

    assert settings(maps) == abi.Settings(99, 1, 0, 0)
