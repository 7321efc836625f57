"""The cgroup to guard, and what is said when there can be none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dnsfw.datapath import cgroup, mounts
from dnsfw.errors import ConfigError, DatapathError


def only(**found: Path) -> Callable[[str], Path | None]:
    """A host that has these mounts and no others."""
    return lambda kind: found.get(kind)


def test_a_host_with_version_1_only_is_offered_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "find", only(cgroup=Path("/sys/fs/cgroup/memory")))

    with pytest.raises(DatapathError, match=r"only cgroup version 1.*--interface"):
        cgroup.root()


def test_a_host_without_any_is_told_what_to_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "find", only())

    with pytest.raises(DatapathError, match="mount -t cgroup2"):
        cgroup.root()


def test_a_hybrid_host_is_fine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mounts, "find", only(cgroup2=tmp_path, cgroup=Path("/sys/fs/cgroup/cpu")))

    assert cgroup.root() == tmp_path


@pytest.mark.parametrize("form", ["{top}/system.slice", "/system.slice", "system.slice"])
def test_a_cgroup_may_be_named_by_directory_or_below_the_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    monkeypatch.setattr(mounts, "find", only(cgroup2=tmp_path))
    (tmp_path / "system.slice").mkdir()

    assert cgroup.find(form.format(top=tmp_path)) == tmp_path / "system.slice"


def test_a_cgroup_that_is_not_there_is_the_operators_mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mounts, "find", only(cgroup2=tmp_path))

    with pytest.raises(ConfigError, match="no cgroup /nowhere"):
        cgroup.find("/nowhere")


def test_a_directory_outside_the_tree_is_no_cgroup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mounts, "find", only(cgroup2=tmp_path))

    with pytest.raises(ConfigError):
        cgroup.find("/proc")


def test_a_leaf_is_there_for_the_block_only(tmp_path: Path) -> None:
    with cgroup.leaf(tmp_path, "probe") as path:
        assert path.is_dir()
        assert cgroup.id_of(path) == path.stat().st_ino

    assert list(tmp_path.iterdir()) == []
