"""`dnsfw enroll`; with a real wall in netns/test_enroll.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnsfw.server.enrollments import Done, Enrollments
from tests.support.commands import dnsfw, dnsfw_beside
from tests.support.running import running

DONE = Done("web", "/unit/dnsfw-web", (7, 8, 9), 5, 1, ("user 1000 owns /unit",))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    found: list[object] = []

    async def enroll(self: Enrollments, pid: int, name: str, *, force: bool = False) -> Done:
        found.append((pid, name, force))
        return DONE

    monkeypatch.setattr(Enrollments, "enroll", enroll)
    return found


async def test_says_who_is_where_and_what_ended(tmp_path: Path, asked: list[object]) -> None:
    async with running(tmp_path) as run:
        at = ("--run-dir", str(run.run_dir))
        done = await dnsfw_beside("enroll", "--role", "web", "--pid", "7", "--force", *at)
        as_json = await dnsfw_beside("enroll", "--role", "web", "--pid", "7", "--json", *at)

    assert asked == [(7, "web", True), (7, "web", False)]
    assert done.code == 0
    assert done.out == (
        "process 7 with 2 children is web now, in /unit/dnsfw-web\n"
        "5 sockets of it, 1 connection ended\n"
    )
    assert done.err == "note: user 1000 owns /unit\n"
    assert json.loads(as_json.out) == {
        "role": "web", "cgroup": "/unit/dnsfw-web", "pids": [7, 8, 9], "sockets": 5, "ended": 1,
        "notes": ["user 1000 owns /unit"],
    }  # fmt: skip


async def test_without_a_helper_it_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        done = await dnsfw_beside(
            "enroll", "--role", "host", "--pid", "7", "--run-dir", str(run.run_dir)
        )

    assert done.code == 3 and "helper" in done.err


def test_both_options_are_needed(tmp_path: Path) -> None:
    for argv in (("--role", "web"), ("--pid", "7"), ("--role", "web", "--pid", "x")):
        assert dnsfw("enroll", *argv, "--run-dir", str(tmp_path)).code == 2
