"""The mark of a wall without a daemon: set by `arm`, gone when a daemon serves."""

from __future__ import annotations

from pathlib import Path

from dnsfw.server.armed import disarmed, is_armed, mark_armed
from tests.support.running import running


def test_a_mark_is_there_until_it_is_taken(tmp_path: Path) -> None:
    before = is_armed(tmp_path)
    mark_armed(tmp_path)
    marked = is_armed(tmp_path)
    disarmed(tmp_path)
    disarmed(tmp_path)

    assert (before, marked, is_armed(tmp_path)) == (False, True, False)


def test_a_directory_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    mark_armed(tmp_path / "none")
    disarmed(tmp_path / "none")

    assert not is_armed(tmp_path / "none")


async def test_a_daemon_that_serves_takes_the_mark_away(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    mark_armed(tmp_path / "run")

    async with running(tmp_path):
        assert not is_armed(tmp_path / "run")
