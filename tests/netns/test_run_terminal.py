"""`dnsfw run` on a terminal: Ctrl-C, Ctrl-Z and `fg` work as without it, in a real shell."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.netlab import end
from tests.support.running_command import Runs
from tests.support.world import World

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
    pytest.mark.skipif(shutil.which("bash") is None, reason="no bash"),
]

_PATIENCE = 30.0


class Terminal:
    """A shell on a pseudo-terminal."""

    def __init__(self, runs: Runs) -> None:
        self.master, slave = pty.openpty()
        argv = runs.guest.argv(["bash", "--norc", "--noediting", "-i"])
        self.process = subprocess.Popen(
            ["nsenter", f"--net={runs.world.host.path}", "--", "setsid", "--ctty", *argv],
            stdin=slave, stdout=slave, stderr=slave, text=True,
            env={**runs.environment, "PS1": "$ ", "TERM": "dumb"},
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, pattern: str) -> str:
        """Read on until it matches what came since the last match."""
        deadline = time.monotonic() + _PATIENCE
        while (found := re.search(pattern, self.seen)) is None:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.master], [], [], max(0.0, left))
            assert ready, f"no {pattern!r} in {self.seen!r}"
            self.seen += os.read(self.master, 4096).decode(errors="replace")
        self.seen = self.seen[found.end() :]
        return found[0]

    def close(self) -> None:
        end(self.process, 9)
        os.close(self.master)


@pytest.fixture
def runs(world: World) -> Runs:
    return Runs(world)


@pytest.fixture
def terminal(runs: Runs) -> Iterator[Terminal]:
    made = Terminal(runs)
    yield made
    made.close()


def typed(runs: Runs, *command: str) -> str:
    """`dnsfw run` of this command, short enough to type."""
    argv = runs.argv("--default", "deny", "-q", command=command)
    file = runs.file("go", f"#!/bin/sh\nexec {shlex.join(argv)}\n")
    file.chmod(0o755)
    return str(file)


def line(runs: Runs, script: str) -> str:
    return typed(runs, "bash", str(runs.file("script.sh", script)))


def test_ctrl_c_reaches_the_command_once_and_ends_it(runs: Runs, terminal: Terminal) -> None:
    code = (
        "import signal, sys, time\n"
        "heard = []\n"
        "signal.signal(signal.SIGINT, lambda *_: heard.append(1))\n"
        "print('ready', flush=True)\n"
        "while not heard: signal.pause()\n"
        "time.sleep(0.5)  # a second one would come now\n"
        "print(f'heard {len(heard)}')\n"
        "sys.exit(4)\n"
    )
    file = str(runs.file("heard.py", code))
    terminal.type(typed(runs, sys.executable, file) + "; echo status=$?\n")
    terminal.expect(r"ready\r\n")

    terminal.type("\x03")

    seen = terminal.expect(r"(?s).*status=4")
    assert "heard 1" in seen
    assert runs.cgroups() == []


def test_ctrl_z_stops_it_and_fg_goes_on(runs: Runs, terminal: Terminal) -> None:
    script = "echo re''ady; read word; echo word-is-$word; exit 5"
    terminal.type(line(runs, script) + "\n")
    terminal.expect(r"ready\r\n")

    terminal.type("\x1a")
    terminal.expect(r"Stopped")
    terminal.type("echo shell-''again\n")
    terminal.expect(r"shell-again\r\n")
    terminal.type("fg; echo status=$?\n")
    terminal.type("blue\n")

    terminal.expect(r"word-is-blue")
    terminal.expect(r"status=5")


def test_an_interactive_shell_has_its_own_job_control(runs: Runs, terminal: Terminal) -> None:
    shell = typed(runs, "bash", "--norc", "--noediting", "-i")
    terminal.type(f"{shell}; echo outer=$?\n")
    terminal.type("grep -c dnsfw.run /proc/self/cgroup; echo in''side\n")
    terminal.expect(r"1\r\ninside")
    terminal.type("sh -c 'echo go''es; exec sleep 60'\n")
    terminal.expect(r"goes\r\n")
    terminal.type("\x1a")
    terminal.expect(r"Stopped")
    terminal.type("exit 3\n")
    terminal.expect(r"There are stopped jobs")
    terminal.type("exit 3\n")  # bash insists once; the stopped job ends with the run

    terminal.expect(r"outer=3")


def test_a_pipeline_keeps_its_terminal(runs: Runs, terminal: Terminal) -> None:
    terminal.type(line(runs, "echo one; echo two") + " | tail -1; echo status=$?\n")

    assert "two" in terminal.expect(r"(?s).*status=0")
