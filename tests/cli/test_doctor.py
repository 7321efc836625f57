"""`dnsfw doctor`: how findings are shown; what is found is in unit/datapath/test_doctor.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnsfw.datapath import doctor
from dnsfw.datapath.checks import Check
from tests.support.commands import dnsfw, dnsfw_beside
from tests.support.running import running

FINE = Check("kernel", True, "Linux 6.18")
WEAK = Check("TCX", False, "not in this kernel", "Linux 6.6", "links that nobody can take away")
FATAL = Check("cgroup2", False, "not mounted", "mount -t cgroup2", "EPERM at connect", vital=True)


def found(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> None:
    monkeypatch.setattr(doctor, "examine", lambda listening: checks)


def test_a_finding_has_its_loss_and_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, FINE, WEAK)
    done = dnsfw("doctor")

    assert done.code == 0
    assert done.out == (
        "ok   kernel: Linux 6.18\n"
        "weak TCX: not in this kernel\n"
        "     without it: links that nobody can take away\n"
        "     remedy: Linux 6.6\n"
    )


def test_what_is_vital_and_missing_is_exit_3(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, FINE, FATAL)
    done = dnsfw("doctor")

    assert done.code == 3
    assert "NO   cgroup2" in done.out


def test_json_has_every_field(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, FATAL)

    assert json.loads(dnsfw("doctor", "--json").out) == [
        {
            "name": "cgroup2", "level": "fail", "ok": False, "vital": True,
            "detail": "not mounted",
            "lost": "EPERM at connect", "remedy": "mount -t cgroup2",
        }
    ]  # fmt: skip


def test_on_this_host_every_line_fits() -> None:
    assert max(map(len, dnsfw("doctor").out.splitlines())) <= 80


async def test_row_118_a_daemon_that_runs_is_asked_where_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(doctor, "examine", lambda listening: asked.append(listening) or ())

    async with running(tmp_path) as run:
        await dnsfw_beside("doctor", "--run-dir", str(run.run_dir))
    dnsfw("doctor", "--run-dir", str(tmp_path))

    assert asked == [(f"127.0.0.1:{run.port}",), ()]
