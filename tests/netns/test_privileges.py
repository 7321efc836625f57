"""What the running daemon may do, and that it is enough for all that it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.datapath import bpf, links
from dnsfw.datapath.syscall import Closing
from dnsfw.server.capabilities import KEPT
from tests.support.daemon import ROOT, Daemon
from tests.support.netlab import wait_until
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]  # fmt: skip

NOBODY = 65534
# What a unit with User= and these AmbientCapabilities= gives.
GIVEN = ("bpf", "net_admin", "net_bind_service", "perfmon")
EXAMPLE = policy_of([{"allow": "*.example.com:80"}])
OTHER = policy_of([{"allow": "*.example.net:80"}])
# Where that user may find the packages: root's own are often below /root.
PLACES = [p for p in sys.path if p.endswith("-packages")] + [
    str(p) for p in ROOT.glob(".venv/lib/python3.*/site-packages")
]
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


def test_another_user_with_four_capabilities_is_enough(
    world: World, unprivileged_python: str
) -> None:
    """As systemd starts it: a run directory and a pin directory of its own, no root."""
    daemon = world.prepare(EXAMPLE)
    _hand_over(daemon)
    daemon.become(_as_nobody(*GIVEN), unprivileged_python, PLACES)

    for _ in range(2):  # the second adopts what the first left
        daemon.start()
        status = status_of(main_pid(daemon))
        assert status["Uid"].split()[0] == str(NOBODY)
        assert int(status["CapEff"], 16) == REDUCED and status["NoNewPrivs"] == "1"
        assert world.addresses("www.example.com")
        assert world.connect("203.0.113.9") == "EPERM"
        assert daemon.reload(EXAMPLE).returncode == 0
        daemon.signal(signal.SIGTERM)

    daemon.start()
    done = daemon.command("enroll", "--role", "host", "--pid", "4194304")
    assert done.returncode == 3 and "CAP_SYS_ADMIN" in done.stderr
    assert daemon.command("down").returncode == 0


@pytest.mark.parametrize("missing", ["bpf", "net_admin", "perfmon"])
def test_a_missing_capability_is_named(
    world: World, unprivileged_python: str, missing: str
) -> None:
    daemon = world.prepare(EXAMPLE)
    _hand_over(daemon)
    daemon.become(_as_nobody(*(c for c in GIVEN if c != missing)), unprivileged_python, PLACES)

    done = daemon.attempt()

    assert done.returncode == 3
    assert f"missing CAP_{missing.upper()} (" in done.stderr


@pytest.fixture
def unprivileged_python() -> str:
    """A Python that another user may run, with all that dnsfw needs."""
    candidates = [sys.executable, "/usr/bin/python3"]
    modules = "click, cachetools, pydantic, yaml, idna, publicsuffixlist, dnslib"
    for python in candidates:
        done = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "--", python, "-c",
             f"import {modules}, subprocess, sys\nsubprocess.run([sys.executable, '-c', ''])"],
            env={"PYTHONPATH": ":".join(PLACES)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return python
    pytest.skip("no Python that another user may run has dnsfw's packages")


def _hand_over(daemon: Daemon) -> None:
    for name in ("DNSFW_RUN_DIR", "DNSFW_PIN_DIR"):
        path = Path(daemon.environment[name])
        path.mkdir(mode=0o700)
        os.chown(path, NOBODY, NOBODY)
        for parent in list(path.parents)[:3]:
            if parent.stat().st_mode & 0o777 == 0o700:
                parent.chmod(0o711)


def _as_nobody(*capabilities: str) -> list[str]:
    given = "".join(f",+{name}" for name in capabilities)
    return [
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
        f"--inh-caps=-all{given}", f"--ambient-caps=-all{given}", "--",
    ]  # fmt: skip
