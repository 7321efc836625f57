"""`dnsfw reload`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.commands import dnsfw_beside
from tests.support.running import ALLOW_EXAMPLE, running


async def test_the_difference_is_printed(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.policy.write_text(ALLOW_EXAMPLE + "  - allow: other.example:443\n")
        done = await dnsfw_beside("reload", "--run-dir", str(run.run_dir))

    assert done.code == 0
    assert done.out == (f"+ allow other.example:443\nin force: {run.policy} (1 change)\n")


async def test_mistakes_are_listed_and_exit_is_2(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.policy.write_text("version: 1\ndefault: maybe\nruels: []\n")
        done = await dnsfw_beside("reload", "--run-dir", str(run.run_dir))

    assert done.code == 2
    assert done.out == ""
    assert f"{run.policy}:2:" in done.err
    assert f"{run.policy}:3:" in done.err
    assert "the policy before it stays in force" in done.err


async def test_json_has_the_changes(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        done = await dnsfw_beside("reload", "--json", "--run-dir", str(run.run_dir))

    assert json.loads(done.out) == {"policy": str(run.policy), "changes": [], "warnings": []}
