"""The pin directory: one holder, one version, one step. (Pinning itself: netns/.)"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.datapath import pins
from dnsfw.datapath.pins import PinDir
from dnsfw.errors import DatapathError


def test_the_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    held = PinDir(tmp_path / "dnsfw")
    held.release()

    assert stat.S_IMODE((tmp_path / "dnsfw").stat().st_mode) == 0o700


def test_row_52_a_second_daemon_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    held = PinDir(tmp_path / "dnsfw")
    try:
        with pytest.raises(DatapathError, match=rf"another dnsfw \(pid {os.getpid()}\) holds"):
            PinDir(tmp_path / "dnsfw")
    finally:
        held.release()


def test_row_52_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    root = Path(pins.__file__).parents[2]
    code = (
        "import os, pathlib, signal, sys\nfrom dnsfw.datapath.pins import PinDir\n"
        "PinDir(pathlib.Path(sys.argv[1]))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "dnsfw")],
        check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )

    PinDir(tmp_path / "dnsfw").release()


def test_row_52_a_directory_that_its_last_holder_removed_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that start while a third ends must not build in one place."""
    path, real = tmp_path / "dnsfw", pins.fcntl.flock
    first = PinDir(path)
    ends = [first.destroy, first.release]

    def flock(fd: int, how: int) -> None:
        while ends:  # when we have opened it
            ends.pop(0)()
        real(fd, how)

    monkeypatch.setattr(pins.fcntl, "flock", flock)
    held = PinDir(path)
    try:
        assert os.fstat(held._fd).st_ino == path.stat().st_ino
        with pytest.raises(DatapathError, match="another dnsfw"):
            PinDir(path)
    finally:
        held.release()


def test_a_place_that_cannot_hold_pins_is_named_with_the_remedy() -> None:
    with pytest.raises(DatapathError, match="mount -t bpf"):
        PinDir(Path("/proc/dnsfw"))


def test_row_52_a_wall_of_another_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    held = PinDir(tmp_path / "dnsfw")
    (tmp_path / "dnsfw" / "abi0").mkdir()
    try:
        with pytest.raises(DatapathError, match="dnsfw down"):
            _ = held.adoptable
        assert [p.name for p in held.generations()] == ["abi0"]
    finally:
        held.release()


def test_a_staged_wall_counts_only_when_it_is_committed(tmp_path: Path) -> None:
    held = PinDir(tmp_path / "dnsfw")
    try:
        (held.stage() / "dnsfw_grants").touch()
        assert not held.adoptable

        held.commit()

        assert held.adoptable
        assert [p.name for p in held.current.iterdir()] == ["dnsfw_grants"]
    finally:
        held.release()


def test_what_a_crash_left_half_built_is_swept_away(tmp_path: Path) -> None:
    held = PinDir(tmp_path / "dnsfw")
    try:
        (held.stage() / "dnsfw_grants").touch()

        assert list(held.stage().iterdir()) == []
    finally:
        held.release()


def test_clearing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    pins.clear(tmp_path / "nothing")

    assert pins.open_link(tmp_path / "nothing") is None


def test_a_clsact_marker_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "clsact_1_2_egress").symlink_to("made")

    assert pins.open_link(tmp_path / "clsact_1_2_egress") is None
