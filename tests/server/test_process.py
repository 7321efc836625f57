"""`dnsfw up` as a process: what it starts with, and what is left of its rights."""

from __future__ import annotations

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
    monkeypatch.setattr(process, "calm_collector", lambda: None)
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
