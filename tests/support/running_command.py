"""`dnsfw run` in a lab: a host before the internet, where nothing else is guarded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.daemon import dnsfw_argv
from tests.support.internet import UNBOUND
from tests.support.netlab import Cgroup, Guest, Lab
from tests.support.world import World

PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended and what it said."""

    code: int
    out: str
    err: str
    report: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.report["observed"]
        return rows


class Runs:
    """Starts runs; what they leave behind can be seen."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lab: Lab = world.lab
        # A cgroup for the caller: runs go below it, and the lab takes all of it away.
        self.cgroup: Cgroup = world.lab.cgroup("caller")
        self.guest: Guest = world.lab.guest(world.host, self.cgroup, UNBOUND)
        self.bpffs = world.lab.bpffs()
        self.environment = {
            **os.environ, "DNSFW_PIN_DIR": str(self.bpffs / "dnsfw"), "DNSFW_POLICY": "",
        }  # fmt: skip
        self._reports = 0

    def run(self, *options: str, command: Sequence[str], **more: Any) -> Ran:
        """To its end, with a report."""
        self._reports += 1
        report = self.lab.scratch / f"report-{self._reports}.json"
        argv = self.argv("--report", str(report), *options, command=command)
        done = self.guest.run(argv, env=self.environment, **more)
        seen = json.loads(report.read_text()) if report.exists() else {}
        return Ran(done.returncode, done.stdout, done.stderr, seen)

    def start(
        self, *options: str, command: Sequence[str], **more: Any
    ) -> subprocess.Popen[str]:
        return self.guest.start(self.argv(*options, command=command), env=self.environment, **more)

    def python(self, code: str, *args: str, options: Sequence[str] = (), **more: Any) -> Ran:
        """A Python program as the command."""
        return self.run(*options, command=[sys.executable, "-c", code, *args], **more)

    def sh(self, script: str, *options: str, **more: Any) -> Ran:
        return self.run(*options, command=["sh", "-c", script], **more)

    def argv(self, *options: str, command: Sequence[str]) -> list[str]:
        return [*dnsfw_argv(), "run", *options, "--", *command]

    def cgroups(self) -> list[str]:
        """Of runs, below the caller's."""
        return [path.name for path in self.cgroup.path.glob("dnsfw.run.*")]

    def pins(self) -> list[str]:
        return [path.name for path in self.bpffs.iterdir() if path.name.startswith("dnsfw")]

    def left_nothing(self) -> bool:
        """Of runs: no cgroup, no pin, no process."""
        empty = "populated 0" in (self.cgroup.path / "cgroup.events").read_text()
        return empty and not self.cgroups() and not self.pins()

    def file(self, name: str, text: str) -> Path:
        return self.lab.file(name, text)
