"""What an earlier helper left is known to the next; the rest is in test_helper.py."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.datapath import abi, cgroup
from dnsfw.datapath.abi import Rank
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.enroll import Tree, rank_of
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.errors import ConfigError
from dnsfw.model import RoleId
from dnsfw.server.helper_roles import RoleMaker
from tests.support.netlab import Lab

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_cgroup]
WEB = RoleId(20)


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    made = LibbpfBackend().load({})
    yield made
    made.close()


@pytest.fixture
def guard(lab: Lab) -> Path:
    path = lab.cgroup().path
    (path / "unit").mkdir()
    return path


def maker(loaded: Loaded, guard: Path) -> RoleMaker:
    return RoleMaker(Tree(cgroup.root(), guard), loaded.maps, lambda kind, text: None)


@pytest.fixture
def process(guard: Path) -> Iterator[int]:
    enter = 'echo $$ > "$0/cgroup.procs" && echo && exec sleep 60'
    with subprocess.Popen(
        ["sh", "-c", enter, str(guard / "unit")], stdout=subprocess.PIPE
    ) as sleeper:
        assert sleeper.stdout is not None
        sleeper.stdout.readline()
        yield sleeper.pid
        sleeper.kill()


def procs(path: Path) -> list[int]:
    return [int(pid) for pid in (path / "cgroup.procs").read_text().split()]


def test_the_next_helper_brings_back_whom_the_last_one_moved(
    loaded: Loaded, guard: Path, process: int
) -> None:
    maker(loaded, guard).enroll(process, WEB, "web", force=False)

    maker(loaded, guard).unenroll(process)

    assert procs(guard / "unit") == [process]
    assert not (guard / "unit" / "dnsfw-web").exists()


def test_an_empty_cgroup_of_the_last_helper_goes_with_its_row(
    loaded: Loaded, guard: Path, process: int
) -> None:
    first = maker(loaded, guard)
    number = first.enroll(process, WEB, "web", force=False).number
    (guard / "unit" / "cgroup.procs").write_text(f"{process}\n")

    maker(loaded, guard).tidy()

    assert not (guard / "unit" / "dnsfw-web").exists()
    assert loaded.maps["dnsfw_cgroups"].lookup(number.to_bytes(8, "little")) is None


def test_a_cgroup_with_somebody_in_it_stays(loaded: Loaded, guard: Path, process: int) -> None:
    made = maker(loaded, guard)
    number = made.enroll(process, WEB, "web", force=False).number

    made.tidy()

    raw = loaded.maps["dnsfw_cgroups"].lookup(number.to_bytes(8, "little"))
    assert raw is not None and abi.Subject.unpack(raw) == (WEB, Rank.ENROLLED)
    assert rank_of(guard / "unit" / "dnsfw-web") is Rank.ENROLLED


def test_cgroups_of_others_are_never_dissolved(loaded: Loaded, guard: Path, process: int) -> None:
    theirs = guard / "unit" / "dnsfw-theirs"
    theirs.mkdir()
    made = maker(loaded, guard)
    made.enroll(process, WEB, "web", force=False)

    assert made.dissolve() == ()

    assert theirs.exists() and procs(guard / "unit") == [process]
    theirs.rmdir()


def test_who_is_in_a_cgroup_that_the_policy_names_has_that_role_again(
    loaded: Loaded, guard: Path, process: int
) -> None:
    jobs = abi.Subject(21, Rank.CGROUP).pack()
    number = (guard / "unit").stat().st_ino.to_bytes(8, "little")
    loaded.maps["dnsfw_cgroups"].update(number, jobs)
    made = maker(loaded, guard)
    made.enroll(process, WEB, "web", force=False)

    assert made.unenroll(process).role == 21
    with pytest.raises(ConfigError, match="no cgroup that dnsfw made"):
        made.unenroll(process)
