"""The one line that says that it stands, and what comes before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dnsfw.server.announce import ready_line, warnings_at_start
from tests.support.running import ALLOW_EXAMPLE, running


async def test_the_line_names_policy_and_listeners(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        line = ready_line(run.daemon)

        assert line == f"ready: guarding with {run.policy} on 127.0.0.1:{run.port}"
        assert run.said[0] == line
        assert list(warnings_at_start(run.daemon)) == []


async def test_what_is_not_enforced_is_in_the_line(tmp_path: Path) -> None:
    policy = ALLOW_EXAMPLE + "mode: audit\n"
    async with running(tmp_path, policy=policy, trial=60.0) as run:
        run.kernel.enforcing = False  # type: ignore[misc]
        run.kernel.hook = replace(run.kernel.hook, attached=False, note="no such hook")

        line, warnings = ready_line(run.daemon), list(warnings_at_start(run.daemon))

        for words in ("NAMES ONLY", "AUDIT: nothing is refused", "undone in 60 s"):
            assert words in line
        assert "degraded: connect4 on /sys/fs/cgroup/test is missing: no such hook" in warnings
        assert warnings[-1] == "AUDIT: nothing is refused"
