"""The commands over a real wall: what an operator sees of real traffic."""

from __future__ import annotations

import json
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, dnsfw_argv
from tests.support.netlab import end, wait_until
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

EXAMPLE = policy_of([{"allow": "*.example.com:80"}])
PATIENCE = 10.0


def wait_for(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def watching(world: World, daemon: Daemon) -> Iterator[subprocess.Popen[str]]:
    """`dnsfw watch --json`: it prints what is refused, from when it listens, which nobody tells."""
    process = world.host.start([*dnsfw_argv(), "watch", "--json"], env=daemon.environment)
    try:
        yield process
    finally:
        end(process)


def test_watch_tells_a_refusal_with_the_last_name_of_the_address(world: World) -> None:
    daemon = world.guard(EXAMPLE)
    assert world.addresses("www.example.com")
    with watching(world, daemon) as process:
        said = process.stdout
        assert said is not None
        wait_until(
            lambda: world.connect("203.0.113.11", 8080) and select.select([said], [], [], 0.2)[0],
            30,
        )
        row = json.loads(said.readline())

    assert row["kind"] == "denied"
    assert (row["address"], row["port"], row["protocol"]) == ("203.0.113.11", 8080, "tcp")
    assert row["names"] == ["www.example.com"]
    assert row["reason"] == "wrong-port"
    assert row["command"].startswith("python")


def test_status_shows_what_stands_and_what_it_counted(world: World) -> None:
    daemon = world.guard(EXAMPLE)
    world.connect("203.0.113.9", 80)

    state = daemon.show("status")

    assert state["enforcing"]
    assert state["packets"]["never-resolved"]["denied"] >= 1
    assert {"connect4", "cg_egress", "tc_egress"} <= {hook["name"] for hook in state["hooks"]}
    assert daemon.command("status", "--require-enforcing").returncode == 0


def test_query_goes_through_the_policy(world: World) -> None:
    daemon = world.guard(EXAMPLE)

    allowed = daemon.command("query", "www.example.com")
    refused = daemon.command("query", "www.example.net")

    assert (allowed.returncode, refused.returncode) == (0, 1)
    assert "203.0.113.11" in allowed.stdout
    assert "blocked" in refused.stdout
    assert daemon.show("grants")[0]["names"] == ["www.example.com"]


def test_a_daemon_killed_in_its_trial_leaves_no_wall(world: World) -> None:
    daemon = world.guard(EXAMPLE, options=("--try", "300s"))
    assert world.connect("203.0.113.9") != "OK"

    daemon.kill()

    wait_for(lambda: not list(world.lab.bpffs().rglob("abi*")))
    assert world.connect("203.0.113.9") == "OK"


def test_a_killed_daemons_wall_is_told_and_can_be_removed(world: World) -> None:
    daemon = world.guard(EXAMPLE)
    daemon.kill()

    told = daemon.command("status")
    removed = daemon.command("down")

    assert told.returncode == 3
    assert "the wall it left stands" in told.stderr
    assert removed.stdout.startswith("removed the wall that a daemon left\n")
    assert world.connect("203.0.113.9") == "OK"


def test_an_idle_daemon_costs_nothing_to_speak_of(world: World) -> None:
    daemon = world.guard(EXAMPLE)

    def ticks() -> int:
        fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    time.sleep(1)
    before = ticks()
    time.sleep(3)

    assert ticks() - before <= 30  # a tenth of a CPU, ten times what it takes
