"""What the running daemon may do, and that it is enough for all that it does."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from dnsfw.datapath import bpf, links
from dnsfw.datapath.syscall import Closing
from dnsfw.server.capabilities import KEPT
from tests.support.daemon import Daemon
from tests.support.netlab import wait_until
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]  # fmt: skip

EXAMPLE = policy_of([{"allow": "*.example.com:80"}])
OTHER = policy_of([{"allow": "*.example.net:80"}])
REDUCED = sum(1 << cap for cap in KEPT)


def status_of(pid: int, thread: int | None = None) -> dict[str, str]:
    path = Path(f"/proc/{pid}/task/{thread or pid}/status")
    rows = (line.partition(":") for line in path.read_text().splitlines())
    return {key: value.strip() for key, _, value in rows}


def main_pid(daemon: Daemon) -> int:
    """The process that serves: `nsenter` has become it."""
    return daemon.pid


def test_the_dns_process_keeps_three_capabilities_in_every_thread(world: World) -> None:
    daemon = world.guard(EXAMPLE)
    assert world.addresses("www.example.com")
    pid = main_pid(daemon)

    for thread in (int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()):
        status = status_of(pid, thread)
        assert int(status["CapEff"], 16) & ~REDUCED == 0, thread
        assert int(status["CapPrm"], 16) & ~REDUCED == 0, thread
    status = status_of(pid)
    assert int(status["CapEff"], 16) == REDUCED
    for name in ("CapInh", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"


def test_with_these_every_command_still_works(world: World) -> None:
    daemon = world.guard(EXAMPLE)
    assert world.addresses("www.example.com")

    assert daemon.show("status")["enforcing"]
    assert daemon.show("grants")
    daemon.show("flows")
    assert daemon.command("query", "www.example.com").returncode == 0
    done = daemon.reload(OTHER)
    assert done.returncode == 0, done.stderr
    assert not world.addresses("www.example.com")
    for state in ("on", "off"):
        done = daemon.command("lockdown", state)
        assert done.returncode == 0, done.stderr
    done = daemon.command("down")
    assert done.returncode == 0, done.stderr
    assert not Path(daemon.environment["DNSFW_PIN_DIR"]).exists()


def test_what_somebody_takes_away_is_back(world: World) -> None:
    daemon = world.guard(EXAMPLE)
    (pins,) = Path(daemon.environment["DNSFW_PIN_DIR"]).glob("abi*")
    taken = [p for p in pins.iterdir() if p.name.startswith(("tcx_", "cgroup_"))]
    assert len(taken) > 5
    for pin in taken:
        with Closing(bpf.obj_get(pin)) as link:
            links.link_detach(link)
    pins.joinpath("dnsfw_grants").unlink()

    wait_until(lambda: all(h["attached"] for h in daemon.show("status")["hooks"]))

    assert pins.joinpath("dnsfw_grants").exists()
    assert world.addresses("www.example.com")
    assert world.connect("203.0.113.9", 80) == "EPERM"


def test_a_device_that_comes_later_is_guarded(world: World) -> None:
    world.host.ip("link add late0 type veth peer name late1")
    daemon = world.guard(EXAMPLE, interfaces=("eth0", "late0"))
    world.host.ip("link del late0")
    world.host.ip("link add late0 type veth peer name late1")

    wait_until(lambda: any(
        h["where"].startswith("late0") and h["attached"] for h in daemon.show("status")["hooks"]
    ))  # fmt: skip


def test_a_restart_adopts_the_wall(world: World) -> None:
    daemon = world.guard(EXAMPLE)
    assert world.addresses("www.example.com")
    before = daemon.show("grants")
    daemon.signal(signal.SIGTERM)

    daemon.start()

    assert {g["address"] for g in daemon.show("grants")} == {g["address"] for g in before}
    assert int(status_of(main_pid(daemon))["CapEff"], 16) == REDUCED
