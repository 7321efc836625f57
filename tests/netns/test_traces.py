"""`up` leaves the machine as it found it, whichever way it ends."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from dnsfw.datapath.links import prog_query
from dnsfw.datapath.syscall import AttachType
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

EXAMPLE = policy_of([{"allow": "*.example.com:80"}])


def machine(world: World) -> dict[str, str]:
    """Everything that a firewall could have left: qdiscs, hooks, rules, pins, files."""
    host = world.host
    looks = {
        "links": ["ip", "-o", "-d", "link"],
        "qdiscs": ["tc", "qdisc"],
        "filters": ["tc", "filter", "show", "dev", "eth0", "egress"],
        "cgroup": ["bpftool", "cgroup", "show", str(world.cgroup.path)],
        "routes": ["ip", "route", "show", "table", "all"],
        "rules": ["ip", "rule"],
        "firewall": ["nft", "list", "ruleset"],
    }
    seen = {what: host.run(argv).stdout for what, argv in looks.items()}
    with host.entered():
        eth0 = socket.if_nametoindex("eth0")
        seen["hooks"] = str([
            prog_query(eth0, kind) for kind in (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS)
        ])
    seen["pins"] = "\n".join(sorted(str(pin) for pin in world.lab.bpffs().rglob("*")))
    seen["resolv.conf"] = Path("/etc/resolv.conf").read_text()
    return seen


def test_ctrl_c_leaves_the_machine_as_it_was_found(world: World) -> None:
    before = machine(world)
    daemon = world.guard(EXAMPLE)
    during = machine(world)

    daemon.signal(signal.SIGINT)

    assert during["cgroup"] != before["cgroup"]
    assert during["hooks"] != before["hooks"]
    assert during["resolv.conf"] == before["resolv.conf"]
    assert machine(world) == before
    assert world.connect("203.0.113.9") == "OK"


def test_down_leaves_the_machine_as_it_was_found(world: World) -> None:
    before = machine(world)
    daemon = world.guard(EXAMPLE)

    done = daemon.command("down")
    assert daemon.process is not None
    daemon.process.wait(20)

    assert done.returncode == 0, done.stderr
    assert machine(world) == before


def test_down_after_kill_9_leaves_the_machine_as_it_was_found(world: World) -> None:
    before = machine(world)
    daemon = world.guard(EXAMPLE)
    daemon.kill()

    done = daemon.command("down")

    assert done.returncode == 0, done.stderr
    assert machine(world) == before


def test_down_without_a_wall_says_so_and_harms_nothing(world: World) -> None:
    before = machine(world)

    done = world.prepare(EXAMPLE).command("down")

    assert "Traceback" not in done.stderr
    assert machine(world) == before


def test_a_policy_with_mistakes_starts_nothing(world: World) -> None:
    before = machine(world)

    done = world.prepare("version: 1\nrules:\n  - allow: '*'\n").attempt()

    assert done.returncode == 2
    assert "policy.yaml:3" in done.stderr + done.stdout
    assert machine(world) == before


def test_only_the_interface_is_guarded_where_only_it_was_asked_for(world: World) -> None:
    world.guard(EXAMPLE, guard_cgroup=False)

    assert world.fetches("http://www.example.com/")
    assert world.connect("203.0.113.9", wait=1.0) == "TIMEOUT", "a drop: no EPERM at connect"


def test_only_the_cgroup_is_guarded_where_only_it_was_asked_for(world: World) -> None:
    world.guard(EXAMPLE, interfaces=())
    unguarded = world.lab.guest(world.host, None, "127.0.53.53")

    refused = world.connect("203.0.113.9")
    free = unguarded.run(["curl", "-sS", "--max-time", "5", "http://203.0.113.9/"])

    assert refused == "EPERM"
    assert "hello from 203.0.113.9" in free.stdout


def test_no_code_of_the_working_directory_is_run(world: World) -> None:
    trap = world.lab.file("trap/dnsfw/__init__.py", "raise SystemExit('ran what lay here')\n")
    world.lab.file("trap/json.py", "raise SystemExit('ran what lay here')\n")

    daemon = world.guard(EXAMPLE, options=("--try", "60s"), cwd=trap.parent.parent)

    assert world.fetches("http://www.example.com/")
    assert not any("ran what lay here" in line for line in daemon.said)
