"""Whoever touches the wall is undone and told of, once (rows 44 to 47)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dnsfw.datapath import bpf, links, pins
from dnsfw.datapath.attach import Wall
from dnsfw.datapath.syscall import Closing
from tests.support.guarded import CURRENT, PEER, Yard, open_yard
from tests.support.netlab import Lab, wait_until

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
]


@pytest.fixture
def yard(lab: Lab) -> Yard:
    return open_yard(lab)


def told(wall: Wall) -> list[str]:
    """What `mend` says; all of it must be tamper."""
    found = wall.mend()
    assert all(repair.tamper for repair in found)
    return [repair.what for repair in found]


def test_a_wall_that_nobody_touched_has_nothing_to_tell(yard: Yard) -> None:
    with yard.wall() as wall:
        assert told(wall) == [] == told(wall)


def test_row_46_the_whole_pin_directory_comes_back(yard: Yard) -> None:
    with yard.wall() as wall:
        pinned = yard.pinned()
        pins.clear(yard.pin_dir / CURRENT)
        assert not yard.sends(PEER)

        (what,) = told(wall)

        assert what.startswith("pins were deleted (") and "and more" in what
        assert yard.pinned() == pinned
        assert told(wall) == []


def test_row_46_one_deleted_pin_is_named(yard: Yard) -> None:
    with yard.wall() as wall:
        (yard.pin_dir / CURRENT / "dnsfw_grants").unlink()

        assert told(wall) == ["pins were deleted (dnsfw_grants); they are back"]


def test_row_47_a_pin_that_leads_to_another_table_leads_to_ours_again(yard: Yard) -> None:
    with yard.wall() as wall:
        pin = yard.pin_dir / CURRENT / "dnsfw_grants"
        pin.unlink()
        pins.pin(wall.maps["dnsfw_flows"].fd, pin)

        assert told(wall) == ["the pin of dnsfw_grants led to another table; it is back"]

        with Closing(bpf.obj_get(pin)) as fd:
            assert bpf.object_id(fd) == bpf.object_id(wall.maps["dnsfw_grants"].fd)
        assert told(wall) == []


def test_row_47_pins_are_roots_alone(yard: Yard) -> None:
    with yard.wall() as wall:
        pins.clear(yard.pin_dir / CURRENT)
        told(wall)
        directory = yard.pin_dir / CURRENT
        modes = {stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()}

        assert modes == {0o600}
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE(yard.pin_dir.stat().st_mode) == 0o700


def test_row_44_a_link_that_runs_another_program_runs_ours_again(yard: Yard) -> None:
    with yard.wall() as wall:
        pin = next((yard.pin_dir / CURRENT).glob("cgroup_*_inet4_connect"))
        other = wall.programs["dnsfw_connect4"]
        code = b"\xb7\x00\x00\x00\x01\x00\x00\x00\x95\x00\x00\x00\x00\x00\x00\x00"  # return 1
        harmless = bpf._load(other.type, code, int(other.attach_type or 0), b"yes", "load")
        with Closing(harmless), Closing(bpf.obj_get(pin)) as link:
            links.link_update(link, harmless)

        assert told(wall) == [
            f"dnsfw_connect4 was removed from {usual(yard)} (runs another program); it is back"
        ]
        assert told(wall) == []


def test_row_44_what_cannot_be_put_back_is_told_once_and_stays_visible(yard: Yard) -> None:
    with yard.wall(yard.config(interfaces=())) as wall:
        yard.cgroup.close()
        # The kernel takes its hooks away a moment later.
        wait_until(lambda: not any(h.attached for h in wall.hooks()), what="a dead cgroup")

        found = told(wall)

        assert len(found) == len(wall.hooks())
        assert all("cannot be put back" in what for what in found)
        assert told(wall) == []
        assert not any(state.attached for state in wall.hooks())


def test_a_guarded_cgroup_that_is_made_anew_is_guarded_again(yard: Yard) -> None:
    with yard.wall(yard.config(interfaces=())) as wall:
        yard.cgroup.close()
        yard.cgroup.path.mkdir()
        assert yard.sends(PEER)

        found = wall.mend()

        assert [(r.tamper, r.what) for r in found] == [
            (False, f"guarding {usual(yard)}, which was made anew")
        ]
        assert not yard.sends(PEER)
        assert all(state.attached for state in wall.hooks())
        assert wall.mend() == ()
        assert len([p for p in yard.pinned() if "cgroup_" in p]) == len(wall.hooks())


def usual(yard: Yard) -> Path:
    return Path(os.path.realpath(yard.cgroup.path))
