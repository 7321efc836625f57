"""File systems are found where they are, not where they usually are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dnsfw.datapath import mounts
from dnsfw.datapath.mounts import find, parse, usual, where

HYBRID = """\
25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 25 0:26 / /sys rw,nosuid - sysfs sysfs rw
34 30 0:30 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
35 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
"""


def proc(tmp_path: Path, own: str, init: str = "") -> Path:
    """A /proc with the mountinfo of this process and of process 1, whose root is `init`."""
    for process, text in (("self", own), ("1", init)):
        (tmp_path / process).mkdir(parents=True)
        (tmp_path / process / "mountinfo").write_text(text)
    (tmp_path / "1" / "root").mkdir()
    return tmp_path


def line(path: Path, kind: str, device: str = "", root: str = "/", how: str = "rw") -> str:
    if not device:
        dev = path.stat().st_dev
        device = f"{os.major(dev)}:{os.minor(dev)}"
    escaped = str(path).replace(" ", "\\040")
    return f"34 30 {device} {root} {escaped} {how},nosuid shared:9 - {kind} none rw\n"


def test_each_mount_is_read_with_its_kind_and_device() -> None:
    mounts = list(parse(HYBRID))

    assert [m.kind for m in mounts] == ["ext4", "sysfs", "cgroup2", "cgroup"]
    assert (mounts[2].point, mounts[2].device) == (Path("/sys/fs/cgroup/unified"), (0, 30))


def test_optional_fields_and_escapes_do_not_confuse_it() -> None:
    line = "36 35 98:0 /a\\040b /mnt\\134x\\040y ro master:1 propagate_from:2 - bpf none rw"
    text = f"{line}\nnonsense\n"

    (mount,) = parse(text)

    assert (mount.root, mount.point, mount.kind) == ("/a b", Path("/mnt\\x y"), "bpf")
    assert mount.read_only


def test_a_mount_is_found_at_its_own_place(tmp_path: Path) -> None:
    there = tmp_path / "with space"
    there.mkdir()

    assert find("bpf", proc(tmp_path / "proc", line(there, "bpf"))) == there


def test_a_hidden_mount_does_not_count(tmp_path: Path) -> None:
    assert find("bpf", proc(tmp_path / "proc", line(tmp_path, "bpf", device="0:99"))) is None


def test_a_mount_hidden_here_is_reached_through_process_1(tmp_path: Path) -> None:
    fake = proc(tmp_path / "proc", line(tmp_path, "bpf", device="0:99"))
    outside = fake / "1" / "root" / "sys"
    outside.mkdir()
    dev = outside.stat().st_dev
    (fake / "1" / "mountinfo").write_text(
        f"34 30 {os.major(dev)}:{os.minor(dev)} / /sys rw - bpf none rw\n"
    )

    found = find("bpf", fake)

    assert found is not None and found.samefile(outside)


def test_what_was_reached_once_stays_found_when_that_process_cannot_be_looked_into_any_more(
    tmp_path: Path,
) -> None:
    """A daemon under `ip netns exec` gives up the right to look into process 1."""
    fake = proc(tmp_path / "proc", "")
    outside = fake / "1" / "root" / "sys"
    outside.mkdir()
    dev = outside.stat().st_dev
    (fake / "1" / "mountinfo").write_text(
        f"34 30 {os.major(dev)}:{os.minor(dev)} / /sys rw - bpf none rw\n"
    )
    assert find("bpf", fake) is not None

    (fake / "1" / "root").rename(tmp_path / "closed")

    found = find("bpf", fake)
    assert found is not None and found.samefile(tmp_path / "closed" / "sys")


def test_a_mount_hidden_here_is_reached_through_an_ancestor(tmp_path: Path) -> None:
    fake = proc(tmp_path / "proc", "")
    outside = fake / "77" / "root" / "sys"
    outside.mkdir(parents=True)
    dev = outside.stat().st_dev
    (fake / "self" / "stat").write_text("99 (a) name) S 77 99 99 0")
    (fake / "77" / "mountinfo").write_text(
        f"34 30 {os.major(dev)}:{os.minor(dev)} / /sys rw - bpf none rw\n"
    )

    found = find("bpf", fake)

    assert found is not None and found.samefile(outside)


def test_only_a_mount_at_the_wanted_place_counts(tmp_path: Path) -> None:
    usual, other = tmp_path / "usual", tmp_path / "other"
    usual.mkdir()
    other.mkdir()
    fake = proc(tmp_path / "proc", line(other, "bpf"))

    assert find("bpf", fake, at=usual) is None
    assert find("bpf", fake, at=other) == other


def test_a_read_only_mount_is_of_no_use(tmp_path: Path) -> None:
    assert find("bpf", proc(tmp_path / "proc", line(tmp_path, "bpf", how="ro"))) is None


def test_the_whole_file_system_is_preferred_to_a_part_of_it(tmp_path: Path) -> None:
    part, whole = tmp_path / "part", tmp_path / "whole"
    part.mkdir()
    whole.mkdir()
    text = line(part, "cgroup2", root="/some/slice") + line(whole, "cgroup2")

    assert find("cgroup2", proc(tmp_path / "proc", text)) == whole


def test_nothing_is_found_where_proc_cannot_be_read(tmp_path: Path) -> None:
    assert find("bpf", tmp_path / "no-proc") is None


def test_the_usual_place_of_bpffs_is_preferred_to_one_that_somebody_mounted_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = {Path("/sys/fs/bpf"): Path("/proc/9/fd/3/sys/fs/bpf"), None: Path("/tmp/lab/bpf")}
    monkeypatch.setattr(mounts, "find", lambda kind, at=None: places[at])

    assert where("bpf") == Path("/proc/9/fd/3/sys/fs/bpf")
    places[Path("/sys/fs/bpf")] = None  # type: ignore[assignment]
    assert where("bpf") == Path("/tmp/lab/bpf")
    assert where("cgroup2") == Path("/tmp/lab/bpf")


@pytest.mark.parametrize(
    ("reached", "known"),
    [
        ("/proc/77/fd/3/sys/fs/cgroup/a", "/sys/fs/cgroup/a"),
        ("/proc/1/root/sys/fs/bpf", "/sys/fs/bpf"),
        ("/sys/fs/cgroup/proc/7/fd/3/x", "/sys/fs/cgroup/proc/7/fd/3/x"),
    ],
)
def test_people_see_the_path_they_know(reached: str, known: str) -> None:
    assert usual(Path(reached)) == Path(known)
