"""Lists over https behind a real wall that refuses everything else: rows 127 and 128."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from tests.support.daemon import Daemon, dnsfw_argv
from tests.support.https import Ca, Https, dripping
from tests.support.netlab import wait_until
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

HOST, ADDRESS, PORT = "www.example.com", "203.0.113.11", 8443


@pytest.fixture
def site(world: World, tmp_path: Path) -> Iterator[Https]:
    """A publisher in the internet."""
    ca = Ca.make(tmp_path / "ca")
    with world.internet.netns.entered():
        made = Https(ca, ca.certify(HOST), ADDRESS, PORT)
        made.__enter__()
    try:
        yield made
    finally:
        made.__exit__()


def closed(site: Https) -> str:
    """Nothing is allowed; what is denied besides comes from the publisher."""
    listing = {"list": site.url("/ads.txt", HOST), "ca": str(site.ca.file)}
    return policy_of([{"deny": listing}])


def prepared(world: World, site: Https, state: Path, text: str = "") -> Daemon:
    daemon = world.prepare(text or closed(site))
    daemon.environment["DNSFW_STATE_DIR"] = str(state)
    return daemon


def sources(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = daemon.show("status")["remotes"]
    return found


def test_the_fetch_passes_a_wall_that_refuses_everything_else(
    world: World, site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    assert world.connect(ADDRESS, PORT) == "OK", "the control: nobody guards yet"
    daemon = prepared(world, site, tmp_path / "state").start()
    assert world.connect(ADDRESS, PORT) == "EPERM"
    assert world.addresses(HOST) == []

    site.put("/ads.txt", "a.example\nb.example\n")
    done = daemon.command("reload", "--fetch")

    assert done.returncode == 0, done.stderr
    assert [row["rules"] for row in sources(daemon)] == [2], done.stdout
    assert world.connect(ADDRESS, PORT) == "EPERM", "what the daemon fetched opens nothing"


def test_a_start_fetches_through_the_wall_that_the_last_one_left(
    world: World, site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    daemon = prepared(world, site, tmp_path / "state").start()
    daemon.kill()
    rmtree(tmp_path / "state")
    asked = site.asked("/ads.txt")
    assert world.connect(ADDRESS, PORT) == "EPERM", "the wall stands without its daemon"

    daemon.start()

    assert site.asked("/ads.txt") == asked + 1
    assert [row["rules"] for row in sources(daemon)] == [1]


def test_a_start_without_network_guards_with_the_copy(
    world: World, site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    text = closed(site).replace('"default": "deny"', '"default": "allow"')
    daemon = prepared(world, site, tmp_path / "state", text).start()
    assert "NXDOMAIN" in world.dig("a.example")
    daemon.kill()
    world.host.ip("link set eth0 down")

    daemon.start()

    assert "EDE: 15" in world.dig("a.example"), "refused by the list, not by a missing network"


def test_row_128_a_kill_in_mid_download_leaves_what_was_there(
    world: World, site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    state = tmp_path / "state"
    text = closed(site).replace('"default": "deny"', '"default": "allow"')
    daemon = prepared(world, site, state, text).start()
    site.put("/ads.txt", dripping(longest=60, first=b"b.example\n" * 20_000))
    asking = daemon.netns.start([*dnsfw_argv(), "reload", "--fetch"], env=daemon.environment)
    wait_until(lambda: any(path.stat().st_size for path in state.rglob("*.part")))

    daemon.kill()
    asking.wait(10)
    site.put("/ads.txt", "a.example\n")
    daemon.start()

    assert "EDE: 15" in world.dig("a.example")
    assert [row["state"] for row in sources(daemon)] == ["good"]
    assert daemon.command("reload", "--fetch").returncode == 0
    assert not list(state.rglob("*.part")), "and what it left is swept"


def test_row_127_another_ca_in_the_middle_changes_nothing(
    world: World, site: Https, tmp_path: Path
) -> None:
    site.put("/ads.txt", "a.example\n")
    daemon = prepared(world, site, tmp_path / "state").start()
    site.__exit__()
    evil = Ca.make(tmp_path / "evil")
    with world.internet.netns.entered():
        middle = Https(evil, evil.certify(HOST), ADDRESS, PORT)
        middle.__enter__()
    try:
        middle.put("/ads.txt", "b.example\n")
        done = daemon.command("reload", "--fetch")
    finally:
        middle.__exit__()

    assert "certificate is not good" in done.stderr
    (row,) = sources(daemon)
    assert (row["state"], row["rules"]) == ("stale", 1)
    assert middle.heard == []


def test_nothing_is_fetched_in_a_lockdown(world: World, site: Https, tmp_path: Path) -> None:
    site.put("/ads.txt", "a.example\n")
    daemon = prepared(world, site, tmp_path / "state").start()
    asked = site.asked("/ads.txt")
    assert daemon.command("lockdown", "on").returncode == 0

    done = daemon.command("reload", "--fetch")

    assert done.returncode == 2 and "lockdown" in done.stderr
    assert site.asked("/ads.txt") == asked
