"""Whose a socket is: the order of subjects, on a tree of directories and a false /proc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dnsfw.datapath import whose as module
from dnsfw.datapath.whose import Whose, changed, claims, owner_of, pids
from dnsfw.model import HOST, Rank, RoleId

WEB, DB, MAIL = RoleId(16), RoleId(17), RoleId(18)
ENROLLED, CGROUP, EXECUTABLE = Rank.ENROLLED, Rank.CGROUP, Rank.EXECUTABLE


def inode(path: Path) -> int:
    return path.stat().st_ino


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, members in (("a", "1\n"), ("a/b", "2\n3\n"), ("c", "4\n0\n")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "cgroup.procs").write_text(members)
    return tmp_path


def test_of_equal_rank_the_deepest_cgroup_decides(tree: Path) -> None:
    whose = Whose({inode(tree / "a"): (WEB, CGROUP), inode(tree / "a/b"): (DB, CGROUP)})

    found = {path.name: claim for path, _, claim in claims(tree, whose)}

    assert (found["a"], found["b"], found["c"]) == ((WEB, CGROUP), (DB, CGROUP), None)


@pytest.mark.parametrize(
    ("above", "below", "role"),
    [(ENROLLED, CGROUP, WEB), (CGROUP, EXECUTABLE, WEB), (EXECUTABLE, CGROUP, DB)],
)
def test_a_higher_rank_decides_wherever_it_is(
    tree: Path, above: Rank, below: Rank, role: RoleId
) -> None:
    whose = Whose({inode(tree / "a"): (WEB, above), inode(tree / "a/b"): (DB, below)})

    found = {path.name: claim for path, _, claim in claims(tree, whose)}

    assert found["b"] is not None and found["b"][0] == role


def test_what_holds_above_the_guarded_cgroup_holds_in_it(tree: Path) -> None:
    whose = Whose({inode(tree / "a"): (WEB, CGROUP)})

    assert [claim for _, _, claim in claims(tree / "a/b", whose)] == [(WEB, CGROUP)]


def test_cgroup_before_user_before_group_before_host() -> None:
    whose = Whose({}, users={33: DB}, groups={44: MAIL})

    assert whose.role((WEB, CGROUP), 33, 44) == WEB
    assert whose.role(None, 33, 44) == DB
    assert whose.role(None, 34, 44) == MAIL
    assert whose.role(None, 34, 45) == HOST
    assert whose.role(None, None) == HOST


def test_the_processes_of_a_cgroup_without_those_of_other_namespaces(tree: Path) -> None:
    assert pids(tree / "a/b") == [2, 3]
    assert pids(tree / "c") == [4]
    assert pids(tree / "gone") == []


def test_a_process_has_its_real_user_and_group(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text("Name:\tx\nUid:\t33\t0\t0\t0\nGid:\t44\t0\t0\t0\n")

    assert owner_of(7, tmp_path) == (33, 44)
    assert owner_of(8, tmp_path) is None
    assert owner_of(os.getpid()) == (os.getuid(), os.getgid())


def test_only_those_whose_role_changed_are_told(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = {1: (0, 0), 2: (33, 0), 4: (33, 0)}  # 3 has just ended
    monkeypatch.setattr(module, "owner_of", owners.get)
    before = Whose({inode(tree / "a"): (WEB, CGROUP)})
    after = Whose({inode(tree / "a/b"): (DB, CGROUP)})

    assert changed(tree, before, after) == {HOST: [1], DB: [2]}
    assert changed(tree, before, before) == {}


def test_a_new_user_changes_processes_in_no_cgroup_of_a_role(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "owner_of", {1: (0, 0), 2: (33, 0), 4: (33, 0)}.get)
    cgroups = {inode(tree / "a"): (WEB, CGROUP)}

    assert changed(tree, Whose(cgroups), Whose(cgroups, users={33: DB})) == {DB: [4]}
