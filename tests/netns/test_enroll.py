"""Roles given by hand and by program, with a real daemon and real connections."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.netlab import wait_until
from tests.support.world import World

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]  # fmt: skip

# 203.0.113.9 for the host, 203.0.113.11 for the role.
POLICY = """\
version: 1
default: deny
rules: [{allow: "203.0.113.9:80"}]
roles:
  web: {default: deny, rules: [{allow: "203.0.113.11:80"}]%s}
  open: {default: allow}
"""
# Connects where a line of stdin says, and says how that went; keeps what it opened.
DIALLER = """
import errno, socket, sys
kept = []
for line in sys.stdin:
    sock = socket.socket()
    sock.settimeout(3)
    try:
        if line.startswith("still"):
            kept[-1].sendall(b"x")
        else:
            sock.connect((line.strip(), 80))
            kept.append(sock)
        print("OK", flush=True)
    except OSError as error:
        print(errno.errorcode.get(error.errno, "TIMEOUT"), flush=True)
"""


class Dialler:
    """A workload that lives through a change of its role."""

    def __init__(self, world: World, script: str = DIALLER, python: str = sys.executable) -> None:
        self.process = world.guest.start(
            [python, "-u", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def do(self, line: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def test_enrolled_process_has_the_roles_rules_and_not_the_hosts(world: World) -> None:
    daemon = world.guard(POLICY % "")
    process = Dialler(world)
    assert (process.do("203.0.113.9"), process.do("203.0.113.11")) == ("OK", "EPERM")

    done = daemon.command("enroll", "--role", "web", "--pid", str(process.pid))

    assert done.returncode == 0, done.stderr
    assert f"process {process.pid} is web now" in done.stdout
    assert (process.do("203.0.113.9"), process.do("203.0.113.11")) == ("EPERM", "OK")
    assert world.connect("203.0.113.9") == "OK"  # everybody else is as before
    back = daemon.command("enroll", "--role", "host", "--pid", str(process.pid))
    assert back.returncode == 0, back.stderr
    assert (process.do("203.0.113.9"), process.do("203.0.113.11")) == ("OK", "EPERM")


def test_a_connection_that_the_role_refuses_ends_at_once(world: World) -> None:
    daemon = world.guard(POLICY % "")
    process = Dialler(world)
    assert process.do("203.0.113.9") == "OK" and process.do("still") == "OK"

    done = daemon.command("enroll", "--role", "web", "--pid", str(process.pid), "--json")

    assert json.loads(done.stdout)["ended"] == 1
    assert process.do("still") in {"ECONNABORTED", "EPIPE"}


def test_a_connection_that_the_role_allows_lives_on(world: World) -> None:
    daemon = world.guard(POLICY % "")
    process = Dialler(world)
    assert process.do("203.0.113.9") == "OK"

    done = daemon.command("enroll", "--role", "open", "--pid", str(process.pid), "--json")

    assert json.loads(done.stdout)["ended"] == 0
    assert process.do("still") == "OK"


def test_a_role_that_is_not_there_is_a_mistake(world: World) -> None:
    daemon = world.guard(POLICY % "")

    done = daemon.command("enroll", "--role", "nobody", "--pid", "4194304")

    assert done.returncode == 2
    assert "there is no role 'nobody'; there are: host, web, open" in done.stderr


def test_a_program_has_its_role_from_its_first_connection_on(world: World) -> None:
    program = world.lab.scratch / "python"
    program.write_bytes(Path(sys.executable).resolve().read_bytes())
    program.chmod(0o755)
    world.guard(POLICY % f", subjects: [{{executable: {program}}}]")
    process = Dialler(world, DIALLER, _runs(program))

    assert (process.do("203.0.113.9"), process.do("203.0.113.11")) == ("EPERM", "OK")
    assert world.connect("203.0.113.9") == "OK"


def test_down_leaves_no_cgroup_and_nobody_in_one(world: World) -> None:
    daemon = world.guard(POLICY % "")
    process = Dialler(world)
    assert daemon.command("enroll", "--role", "web", "--pid", str(process.pid)).returncode == 0
    assert any(p.is_dir() for p in world.cgroup.path.iterdir())

    done = daemon.command("down")

    assert done.returncode == 0, done.stderr
    assert not any(p.is_dir() for p in world.cgroup.path.iterdir())
    assert process.do("203.0.113.11") == "OK"  # nothing is guarded any more


def test_an_enrolment_outlives_a_restart(world: World) -> None:
    daemon = world.guard(POLICY % "")
    process = Dialler(world)
    assert daemon.command("enroll", "--role", "web", "--pid", str(process.pid)).returncode == 0
    daemon.signal(15)
    assert process.do("203.0.113.11") == "OK"

    daemon.start()

    assert (process.do("203.0.113.9"), process.do("203.0.113.11")) == ("EPERM", "OK")


def test_without_its_helper_the_wall_stands_and_says_what_is_lost(world: World) -> None:
    daemon = world.guard(POLICY % "")
    (helper,) = _children(daemon.pid)
    process = Dialler(world)


    os.kill(helper, 9)

    wait_until(lambda: any("privileged helper has ended" in line for line in daemon.said))
    done = daemon.command("enroll", "--role", "web", "--pid", str(process.pid))
    assert done.returncode == 3 and "the wall stands as before" in done.stderr
    assert (process.do("203.0.113.9"), process.do("203.0.113.11")) == ("OK", "EPERM")


def test_row_42_who_leaves_as_root_is_the_hosts_again_and_never_nobodys(world: World) -> None:
    """An ordinary user cannot leave (server/test_helper.py); root can, and gains nothing."""
    daemon = world.guard(POLICY % "")
    process = Dialler(world)
    assert daemon.command("enroll", "--role", "web", "--pid", str(process.pid)).returncode == 0
    elsewhere = world.lab.cgroup("elsewhere").path

    (elsewhere / "cgroup.procs").write_text(f"{process.pid}\n")

    # Past the cgroup hooks; the device's judge the socket as the host's.
    assert (process.do("203.0.113.9"), process.do("203.0.113.11")) == ("OK", "TIMEOUT")


def _runs(program: Path) -> str:
    """A copy of the interpreter needs to be told where its library is."""
    wrapper = program.with_name("run-python")
    wrapper.write_text(f'#!/bin/sh\nPYTHONHOME={sys.base_prefix} exec {program} "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (entry / "comm").exists():
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(stat[1]) == pid and (entry / "comm").read_text().strip() == "dnsfw-helper":
                found.append(int(entry.name))
    return found
