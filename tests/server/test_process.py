"""`dnsfw up` as a process: what it starts with, and what is left of its rights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.errors import DatapathError
from dnsfw.server import process
from dnsfw.server.capabilities import Cap
from dnsfw.server.options import Options


@pytest.mark.parametrize("dns_only", [False, True])
def test_the_helper_is_there_before_any_thread_and_ends_with_us(
    dns_only: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    class Helper:
        def close(self) -> None:
            order.append("helper closed")

    class Log:
        def __init__(self) -> None:
            order.append("log")

        def close(self) -> None:
            order.append("log closed")

    monkeypatch.setattr(process, "start_helper", lambda: order.append("helper") or Helper())
    monkeypatch.setattr(process, "check", lambda wanted: None)
    monkeypatch.setattr(process, "Log", Log)
    monkeypatch.setattr(process, "only_young", lambda: None)
    monkeypatch.setattr(process, "answers_first", lambda: None)
    monkeypatch.setattr(process, "run", lambda coroutine: (coroutine.close(), order.append("run")))

    process.serve(Options(dns_only=dns_only, run_dir=tmp_path))

    ours = ["log", "run", "log closed"]
    assert order == (ours if dns_only else ["helper", *ours, "helper closed"])


def test_without_its_capabilities_it_says_which_are_missing_for_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfw.server.capabilities.held", lambda: frozenset({Cap.NET_ADMIN}))

    with pytest.raises(DatapathError) as caught:
        process.serve(Options(run_dir=tmp_path))

    said = str(caught.value)
    assert "CAP_BPF (the tables and programs of the wall), CAP_PERFMON (loading" in said
    assert "AmbientCapabilities=CAP_BPF CAP_PERFMON" in said


def test_a_daemon_imports_nothing_that_it_does_not_need() -> None:
    """What reads policies, fetches or keeps a history is imported where that is wanted."""
    text = (
        "import sys, dnsfw.server.daemon, dnsfw.server.process, dnsfw.server.wall\n"
        "print(*sys.modules)"
    )
    seldom = {
        "cryptography", "difflib", "dns", "dnslib", "email", "h2", "http.client", "idna",
        "pydantic", "publicsuffixlist", "pyroute2", "sqlite3", "yaml",
    }  # fmt: skip
    # -S: what a host's own site hooks import is not ours.
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-c", text], env={"PYTHONPATH": path}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip

    assert {name.partition(".")[0] for name in done.stdout.split()} & seldom == set()
    assert "http.client" not in done.stdout.split()
