"""The process that reads policies: one job, few rights."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dnsfw.policy.frozen import freeze, thaw
from dnsfw.server import compile_child, compile_jobs
from dnsfw.server.compile_apart import command

_SEE = """
import os, sys
from dnsfw.server import compile_child, compile_jobs
def status(*arguments):
    lines = dict(x.split(":", 1) for x in open("/proc/self/status").read().splitlines())
    return {key: lines[key].strip() for key in ("CapPrm", "CapEff", "CapBnd", "NoNewPrivs")}
compile_jobs.JOBS = {"status": status}
compile_child.main()
"""


@pytest.mark.needs_root
def test_its_rights_are_no_more_than_reading_files() -> None:
    argv, environment = command()
    argv = [*argv[: argv.index("-m")], "-c", _SEE]
    done = subprocess.run(
        argv, env=environment, input=freeze(("status", (), True)), capture_output=True, check=True
    )

    _, kind, status = thaw(done.stdout)

    assert kind == "value"
    reading = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert int(status["CapPrm"], 16) & ~reading == 0 and int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_a_mistake_of_ours_is_told_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> bytes:
        raise KeyError(str(path))

    monkeypatch.setitem(compile_jobs.FROZEN_JOBS, "load", fails)  # type: ignore[arg-type]

    kind, text = compile_child._answer("load", (Path("x"),))

    assert kind == "bug" and "KeyError: 'x'" in str(text)
    assert compile_child._answer("unknown", ())[0] == "bug"
