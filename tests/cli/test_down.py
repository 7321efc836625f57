"""`dnsfw down`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.server import wall
from tests.support.commands import dnsfw, dnsfw_beside
from tests.support.running import running


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """On disk there is nothing of another test's."""
    monkeypatch.setenv("DNSFW_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


async def test_a_daemon_takes_its_wall_down(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        done = await dnsfw_beside("down", "--run-dir", str(run.run_dir))

        assert (done.code, done.out) == (0, "removed: nothing of dnsfw is left in the kernel\n")
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


@pytest.mark.parametrize("daemon", [True, False])
async def test_what_stays_on_disk_is_named(
    places: Path, daemon: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wall, "remove_wall", lambda options: True)
    (places / "state").mkdir()
    (places / "state" / "remote").mkdir()
    async with running(places) as run:
        if daemon:
            done = await dnsfw_beside("down", "--run-dir", str(run.run_dir))
    if not daemon:
        done = await dnsfw_beside("down", "--run-dir", str(run.run_dir))

    kept = f"kept on disk: {places / 'state'} (copies of what came over https)"
    assert done.out.splitlines()[1:] == [kept]
    assert not (places / "run").exists()
