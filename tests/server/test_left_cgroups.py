"""After a crash: who was put into a cgroup of ours is taken out again by `down`."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.datapath import cgroup
from dnsfw.datapath.abi import Rank
from dnsfw.datapath.enroll import Tree, rank_of
from dnsfw.datapath.process import Process
from dnsfw.server.left_cgroups import dissolve_left, forget, remember
from tests.support.netlab import Cgroup, Lab


def test_nothing_noted_is_nothing_done(tmp_path: Path) -> None:
    assert dissolve_left(tmp_path) == ()
    remember(tmp_path, "/no/such/cgroup")
    assert dissolve_left(tmp_path) == ()
    remember(tmp_path, None)
    forget(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def sleeper(lab: Lab) -> Iterator[tuple[subprocess.Popen[bytes], Cgroup]]:
    guarded = lab.cgroup()
    process = subprocess.Popen(["sleep", "60"])
    (guarded.path / "cgroup.procs").write_text(str(process.pid))
    yield process, guarded
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.needs_root
@pytest.mark.needs_cgroup
def test_an_enrolled_process_goes_back_where_it_came_from(
    tmp_path: Path, sleeper: tuple[subprocess.Popen[bytes], Cgroup]
) -> None:
    process, guarded = sleeper
    tree = Tree(cgroup.root(), guarded.path)
    with Process(process.pid) as one:
        place = tree.place(one, "web", Rank.ENROLLED, force=True)
        place.make()
        tree.move(one, place)
    assert rank_of(place.path) is Rank.ENROLLED
    remember(tmp_path, str(guarded.path))

    assert dissolve_left(tmp_path) == ()

    assert not place.path.exists()
    assert str(process.pid) in (guarded.path / "cgroup.procs").read_text().split()
    assert [p for p in guarded.path.iterdir() if p.is_dir()] == []
    assert not any(tmp_path.iterdir())
