"""`down` without a daemon."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from dnsfw.datapath import mounts
from dnsfw.errors import DatapathError
from dnsfw.server import wall
from dnsfw.server.lock import AlreadyRunning, Lock
from dnsfw.server.options import Options
from dnsfw.server.removal import remove_left_overs, wall_stands
from tests.support.running import running


def test_the_wall_and_the_journal_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Options] = []
    monkeypatch.setattr(wall, "remove_wall", lambda options: not asked.append(options))
    (tmp_path / "holders").write_bytes(b"x")

    assert remove_left_overs(tmp_path)
    assert asked[0].run_dir == tmp_path
    assert not (tmp_path / "holders").exists()


def test_a_running_daemon_is_not_robbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall, "remove_wall", lambda options: pytest.fail("robbed"))
    lock = Lock(tmp_path)

    with pytest.raises(AlreadyRunning):
        remove_left_overs(tmp_path)
    lock.release()


def test_without_rights_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(options: Options) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", "/sys/fs/bpf/dnsfw")

    monkeypatch.setattr(wall, "remove_wall", refused)

    with pytest.raises(DatapathError, match=r"cannot use /sys/fs/bpf/dnsfw: .*; run as root"):
        remove_left_overs(tmp_path)
    Lock(tmp_path).release()


@pytest.mark.parametrize(("there", "stands"), [(None, False), ("new", False), ("abi1", True)])
def test_a_wall_stands_when_a_whole_one_is_pinned(
    tmp_path: Path, there: str | None, stands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_PIN_DIR", str(tmp_path / "pins"))
    if there is not None:
        (tmp_path / "pins" / there).mkdir(parents=True)

    assert wall_stands() is stands


def test_the_wall_is_looked_for_where_up_pins_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DNSFW_PIN_DIR", raising=False)
    monkeypatch.setattr(mounts, "where", lambda kind: tmp_path)
    monkeypatch.setattr(mounts, "find", lambda kind: tmp_path / "somebody-elses")
    (tmp_path / "dnsfw" / "abi1").mkdir(parents=True)

    assert wall_stands()


async def test_down_after_the_daemon_leaves_no_file_in_the_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wall, "remove_wall", lambda options: True)
    async with running(tmp_path) as run:
        _, done = await run.control("temporary", word="allow", to=["a.example:443"], seconds=60)
        assert done["ok"], done
        (run.run_dir / "answers").write_text("1 x\n")  # what the kernel's answers were judged by
        (run.run_dir / "answers.new").write_text("1")
    left = sorted(path.name for path in run.run_dir.iterdir())
    assert {"answers", "temporary.json"} <= set(left), left

    remove_left_overs(run.run_dir)

    assert not run.run_dir.exists()
