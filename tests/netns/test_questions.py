"""What may be asked of an allowed name, with real clients and a real upstream."""

from __future__ import annotations

import ipaddress

import pytest

from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

ALLOW = [{"allow": "*.example.com"}]


@pytest.fixture
def world(shared_world: World) -> World:
    """Every row holds with the kernel's answers and without."""
    return shared_world


def upstream_saw(world: World, text: str) -> bool:
    return text in world.internet.unbound_log.read_text()


def test_row_63_a_tunnel_below_an_allowed_wildcard_ends_and_what_is_in_use_goes_on(
    world: World,
) -> None:
    guard = {"action": "refuse", "names": 5, "window": "1m"}
    daemon = world.guard(policy_of(ALLOW, guard=guard))
    (address,) = world.addresses("www.example.com")

    # What is held stays with the daemon: it knows when names are few enough again.
    said = [world.dig(f"d{i}.secret.example.com", kernel=i < 4) for i in range(8)]

    assert all("EDE: 15" not in one for one in said[:4]), said[0]
    assert all("EDE: 15" in one and "new names" in one for one in said[4:]), said[-1]
    assert upstream_saw(world, "d3.secret") and not upstream_saw(world, "d4.secret")
    assert world.addresses("www.example.com") == [address]
    assert world.connect(address) == "OK"
    assert daemon.show("status")["dns"]["guard_held"] >= 4


def test_row_64_a_type_for_tunnels_does_not_leave_and_mail_does(world: World) -> None:
    world.guard(policy_of(ALLOW))

    null = world.dig("www.example.com", "TYPE10")
    private = world.dig("www.example.com", "TYPE65399")
    mail = world.dig("www.example.com", "MX")

    assert "status: NOERROR" in null and "EDE: 15" in null and "ANSWER: 0" in null
    assert "EDE: 15" in private
    assert "EDE: 15" not in mail
    assert not upstream_saw(world, "NULL") and not upstream_saw(world, "TYPE65399")
    assert upstream_saw(world, "www.example.com. MX")


def test_row_65_only_an_address_that_is_open_has_a_name_to_ask_for(world: World) -> None:
    world.guard(policy_of(ALLOW))
    ask = ipaddress.ip_address

    closed = world.dig("-x", "203.0.113.9", kernel=False)  # the next answer may open it
    (address,) = world.addresses("www.example.com")
    world.dig("-x", address)

    assert "EDE: 15" in closed or "NXDOMAIN" in closed
    assert not upstream_saw(world, ask("203.0.113.9").reverse_pointer)
    assert upstream_saw(world, ask(address).reverse_pointer)
