"""The process that reads policies: one job, few rights."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dnsfw.policy.frozen import freeze, thaw
from dnsfw.server import compile_child, compile_jobs
from dnsfw.server.compile_apart import command

_SEE = """
from dnsfw.server import compile_child, compile_jobs
compile_jobs.JOBS = {"see": lambda name: open("/proc/self/" + name).read()}
compile_child.main()
"""


def see(file: str) -> str:
    """What stands in this file of its /proc directory while it works."""
    argv, environment = command()
    argv = [*argv[: argv.index("-m")], "-c", _SEE]
    job = freeze(("see", (file,), True))
    done = subprocess.run(argv, env=environment, input=job, capture_output=True, check=True)
    _, kind, text = thaw(done.stdout)
    assert kind == "value"
    return str(text)


@pytest.mark.needs_root
def test_its_rights_are_no_more_than_reading_files() -> None:
    status = dict(line.split(":", 1) for line in see("status").splitlines())

    reading = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert int(status["CapPrm"], 16) & ~reading == 0 and int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


def test_where_memory_ends_it_is_the_first_to_go() -> None:
    """Else a reload in a container of 128 MB kills the daemon, which is the larger of the two."""
    assert see("oom_score_adj").strip() == "1000"


def test_a_mistake_of_ours_is_told_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> bytes:
        raise KeyError(str(path))

    monkeypatch.setitem(compile_jobs.FROZEN_JOBS, "load", fails)  # type: ignore[arg-type]

    kind, text = compile_child._answer("load", (Path("x"),))

    assert kind == "bug" and "KeyError: 'x'" in str(text)
    assert compile_child._answer("unknown", ())[0] == "bug"
