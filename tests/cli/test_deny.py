"""`dnsfw deny`."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import dnsfw_beside
from tests.support.running import running


async def test_in_force_and_ended(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        at = ("--run-dir", str(run.run_dir))
        begun = await dnsfw_beside(
            "deny", ".example.com", "--for", "10m", "--reason", "down", *at
        )  # fmt: skip
        status = await dnsfw_beside("status", *at)
        wrong = await dnsfw_beside("deny", "x..y", "--for", "10m", *at)
        ended = await dnsfw_beside("deny", "--end", *at)

    assert begun.out == "in force for 10m: deny .example.com\n"
    assert "temporary  deny .example.com, host, 9m59s left" in status.out
    assert wrong.code == 2 and "x..y" in wrong.err
    assert ended.out == "ended: deny .example.com\n"
