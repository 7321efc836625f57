"""One daemon a directory."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.errors import DatapathError
from dnsfw.server.lock import AlreadyRunning, Lock


def test_row_52_the_second_is_told_who_the_first_is(tmp_path: Path) -> None:
    lock = Lock(tmp_path)

    with pytest.raises(AlreadyRunning) as caught:
        Lock(tmp_path)

    assert caught.value.pid == os.getpid()
    assert "dnsfw down" in str(caught.value)
    lock.release()


def test_after_release_another_may(tmp_path: Path) -> None:
    Lock(tmp_path).release()

    Lock(tmp_path).release()


def test_row_48_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from dnsfw.server.lock import Lock\n"
        "lock = Lock(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=_path(), check=False)

    Lock(tmp_path).release()


def test_row_52_nobody_else_can_hold_the_lock_against_a_start(tmp_path: Path) -> None:
    """flock(2) asks for an open file, not for the right to write it."""
    (tmp_path / "lock").touch(0o644)

    lock = Lock(tmp_path)

    assert (tmp_path / "lock").stat().st_mode & 0o077 == 0
    lock.release()


def test_a_full_disk_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)

    with pytest.raises(DatapathError, match="No space left on device; make room"):
        Lock(tmp_path)


def test_who_removes_it_leaves_no_directory(tmp_path: Path) -> None:
    Lock(tmp_path / "run").release(remove=True)

    assert not (tmp_path / "run").exists()


def test_a_directory_with_other_things_in_it_stays(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("")
    Lock(tmp_path).release(remove=True)

    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_row_52_a_lock_on_a_file_that_was_taken_away_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder removes the file between our open and our flock."""
    real, calls = fcntl.flock, []

    def late(file: int, how: int) -> None:
        if not calls:
            (tmp_path / "lock").unlink()
        calls.append(file)
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    lock = Lock(tmp_path)

    assert len(calls) == 2
    assert (tmp_path / "lock").read_text().strip() == str(os.getpid())
    lock.release()


def test_a_directory_that_cannot_be_is_the_hosts_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DatapathError, match="--run-dir"):
        Lock(tmp_path / "file" / "run")


def _path() -> dict[str, str]:
    import dnsfw

    return {**os.environ, "PYTHONPATH": str(Path(dnsfw.__file__).parents[1])}
