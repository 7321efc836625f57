"""Search lists of real stubs: what they make of an allowed name does not hide the name."""

from __future__ import annotations

import pytest

from tests.netns.test_takeover import NOBODY, compiled, silent_guest
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]  # fmt: skip

ALLOWED = "www.example.com"


@pytest.fixture
def world(shared_world: World) -> World:
    """Every row holds with the kernel's answers and without."""
    return shared_world


@pytest.mark.parametrize("refuse", ["nxdomain", "refused", "nodata", "zero"])
def test_row_87_glibc_and_musl_reach_an_allowed_name_behind_their_search_list(
    world: World, refuse: str
) -> None:
    """ndots:5, as Kubernetes has it: every expansion is asked before the name itself."""
    world.guard(policy_of([{"allow": ALLOWED}], dns={"takeover": True, "refuse": refuse}))
    world.guest = silent_guest(world, NOBODY)
    assert world.guest.resolv_conf is not None
    with world.guest.resolv_conf.open("a") as resolv:
        resolv.write("search corp.test.example far.example\noptions ndots:5\n")

    musl = compiled(world.lab)
    getent = world.again(lambda: world.run("getent", "ahostsv4", ALLOWED).stdout)

    assert "203.0.113.11" in getent
    assert "203.0.113.11" in world.again(lambda: world.run(musl, ALLOWED).stdout).split()
