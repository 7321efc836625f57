"""`dnsfw down`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.server import wall
from tests.support.commands import dnsfw, dnsfw_beside
from tests.support.running import running


async def test_a_daemon_takes_its_wall_down(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        done = await dnsfw_beside("down", "--run-dir", str(run.run_dir))

        assert done.code == 0
        assert not run.kernel.standing
        await run.ended()


@pytest.mark.parametrize(
    ("there", "said"),
    [(True, "removed the wall that a daemon left\n"), (False, "nothing to remove\n")],
)
def test_without_a_daemon_it_removes_what_is_left(
    tmp_path: Path, there: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wall, "remove_wall", lambda options: there)

    done = dnsfw("down", "--run-dir", str(tmp_path))

    assert (done.code, done.out) == (0, said)
