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
