"""`dnsfw pause`."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import dnsfw_beside
from tests.support.running import running


async def test_row_140_a_pause_is_loud_until_it_ends(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        at = ("--run-dir", str(run.run_dir))
        silent = await dnsfw_beside("pause", "--for", "5m", *at)
        begun = await dnsfw_beside("pause", "--for", "5m", "--reason", "is it us?", *at)
        status = await dnsfw_beside("status", "--require-enforcing", *at)
        ended = await dnsfw_beside("pause", "--end", *at)
        after = await dnsfw_beside("status", "--require-enforcing", *at)

    assert silent.code == 2 and "why?" in silent.err
    assert begun.out == "in force for 5m: pause of every role\n"
    assert "NOT ENFORCING: PAUSED" in " ".join(status.out.splitlines()[0].split())
    assert "PAUSED     nothing is refused, every role, 4m59s left" in status.out
    assert status.code == 3 and "is it us?" in status.err
    assert ended.out == "ended: pause of every role\n"
    assert after.code == 0
