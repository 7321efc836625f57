"""`dnsfw arm`: the wall before the daemon, and no moment between the two."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.daemon import Daemon
from tests.support.netlab import Capture
from tests.support.programs import PROBES
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

NEVER = ("203.0.113.9", "2001:db8::9")
POLICY = policy_of([{"allow": "*.example.com:80"}, {"allow": "203.0.113.200:80"}])


def arm(world: World, daemon: Daemon) -> subprocess.CompletedProcess[str]:
    return daemon.command(
        "arm", "--policy", str(daemon.policy), "--cgroup", str(world.cgroup.path),
        "--interface", "eth0",
    )  # fmt: skip


def test_row_55_before_the_daemon_address_rules_hold_and_names_are_closed(world: World) -> None:
    daemon = world.prepare(POLICY)

    done = arm(world, daemon)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("armed with ")
    assert world.connect("203.0.113.200") == "OK"
    assert [world.connect(address) for address in NEVER] == ["EPERM", "EPERM"]
    assert world.connect("203.0.113.11") == "EPERM", "www.example.com, which nobody resolved"
    assert not world.fetches("http://www.example.com/")


def test_row_55_status_says_armed_until_a_daemon_serves(world: World) -> None:
    daemon = world.prepare(POLICY)
    arm(world, daemon)

    before = daemon.command("status", "--require-enforcing")
    daemon.start()
    serving = daemon.command("status", "--require-enforcing")
    daemon.kill()
    left = daemon.command("status")

    assert (before.returncode, serving.returncode, left.returncode) == (3, 0, 3)
    assert "armed, no daemon" in before.stderr
    assert "armed" not in left.stderr


def test_row_55_nothing_leaks_while_up_takes_over(world: World) -> None:
    daemon = world.prepare(POLICY)
    arm(world, daemon)

    with Capture(world.internet.netns, "eth0") as capture:
        probes = world.start_python(PROBES, *NEVER)
        assert probes.stdout is not None
        assert probes.stdout.readline() == "ready\n"
        daemon.start()
        reached = world.fetches("http://www.example.com/")
        probes.send_signal(signal.SIGTERM)
        tried, passed = map(int, probes.stdout.read().split())
        leaked = [frame for address in NEVER for frame in capture.to(address)]

    assert reached
    assert leaked == []
    assert passed == 0
    assert tried > 100


def test_a_wall_that_stands_is_left_as_it_is(world: World) -> None:
    daemon = world.guard(POLICY)
    running = arm(world, daemon)
    daemon.kill()

    again = arm(world, daemon)

    assert running.returncode == 3, "a daemon runs"
    assert (again.returncode, again.stdout.split(":")[0]) == (0, "armed already")


def test_down_takes_an_armed_wall_away(world: World) -> None:
    daemon = world.prepare(POLICY)
    arm(world, daemon)

    down = daemon.command("down")

    assert down.returncode == 0, down.stderr
    assert world.connect(NEVER[0]) == "OK"
    assert "armed" not in daemon.command("status").stderr


def test_a_listener_that_was_there_before_is_still_reached(world: World) -> None:
    """Nobody's ssh dies of it."""
    server = world.start_python(
        "import socket; s = socket.create_server(('', 2222)); print('ready');"
        "c, _ = s.accept(); c.recv(9); c.sendall(b'still here'); print('done')"
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    client = world.internet.netns.start([
        sys.executable, "-u", "-c",
        "import socket, sys; s = socket.create_connection(('10.77.0.2', 2222)); print('open');"
        "sys.stdin.readline(); s.sendall(b'hello'); s.settimeout(5); print(s.recv(99))",
    ], stdin=subprocess.PIPE)  # fmt: skip
    assert client.stdout is not None and client.stdin is not None
    assert client.stdout.readline() == "open\n"

    arm(world, world.prepare(POLICY))
    client.stdin.write("go\n")
    client.stdin.flush()

    assert client.stdout.readline() == "b'still here'\n"
