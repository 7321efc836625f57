"""A restart takes over the very programs that run, and nobody's stand-in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dnsfw.datapath import bpf, links
from dnsfw.datapath.attach import Wall, WallConfig
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.sink import KernelSink
from dnsfw.datapath.standing import Standing
from dnsfw.datapath.syscall import Closing
from tests.support.guarded import CURRENT, DENY_ALL, PEER, Yard, grant, open_yard
from tests.support.netlab import Lab

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
]


class Counting(LibbpfBackend):
    """Counts how often the verifier had work."""

    loads = 0

    def load(self, reuse: Mapping[str, int]) -> Loaded:
        Counting.loads += 1
        return super().load(reuse)


@pytest.fixture
def yard(lab: Lab) -> Yard:
    Counting.loads = 0
    return open_yard(lab)


def record(yard: Yard) -> Path:
    home = yard.lab.scratch / "run"
    home.mkdir(mode=0o755, exist_ok=True)
    return home / "programs"


def open_wall(yard: Yard, backend: LibbpfBackend | None = None) -> Wall:
    def fill(wall: Wall) -> None:
        sink = KernelSink(wall.maps)
        sink.apply(DENY_ALL)
        sink.write([grant(PEER)])

    config = WallConfig(
        backend or Counting(), yard.pin_dir, yard.cgroup.path, ("eth0",), record=record(yard)
    )
    with yard.here.entered():
        return Wall.open(config, fill)


def numbers(wall: Wall) -> dict[str, int]:
    return {name: links.prog_id(program.fd) for name, program in wall.programs.items()}


def leave(yard: Yard, wall: Wall, *, remove: bool = False) -> None:
    with yard.here.entered():
        wall.close(remove=remove)


def pinned(yard: Yard) -> Path:
    return yard.pin_dir / CURRENT


def test_a_restart_verifies_nothing_and_every_hook_stays_as_it_is(yard: Yard) -> None:
    first = open_wall(yard)
    before = numbers(first)
    leave(yard, first)

    again = open_wall(yard)

    assert again.adopted and Counting.loads == 1
    assert numbers(again) == before
    with yard.here.entered():
        assert all(hook.attached for hook in again.hooks())
    assert yard.sends(PEER) and not yard.sends("10.9.0.77")
    leave(yard, again, remove=True)
    assert not record(yard).exists() and not yard.pin_dir.exists()


def other_program(yard: Yard) -> None:
    """What drops nothing stands in for what drops."""
    path = pinned(yard) / "prog_dnsfw_tc_egress"
    path.unlink()
    with Closing(bpf.load_drop()) as drop:
        bpf.pin(drop, path)


def same_code_loaded_again(yard: Yard) -> None:
    """The same instructions, so the same tag, and yet another object: over other tables."""
    path = pinned(yard) / "prog_dnsfw_cg_egress"
    loaded = LibbpfBackend().load({})
    try:
        path.unlink()
        bpf.pin(loaded.programs["dnsfw_cg_egress"].fd, path)
    finally:
        loaded.close()


def other_table(yard: Yard) -> None:
    path = pinned(yard) / "dnsfw_grants"
    path.unlink()
    loaded = LibbpfBackend().load({})
    try:
        bpf.pin(loaded.maps["dnsfw_grants"].fd, path)
    finally:
        loaded.close()


def table_instead_of_program(yard: Yard) -> None:
    path = pinned(yard) / "prog_dnsfw_tc_egress"
    path.unlink()
    with Closing(bpf.obj_get(pinned(yard) / "dnsfw_roles")) as table:
        bpf.pin(table, path)


def change(yard: Yard, edit: Callable[[dict[str, Any]], object]) -> None:
    said = json.loads(record(yard).read_text())
    edit(said)
    record(yard).write_text(json.dumps(said))


def somebody_elses_record(yard: Yard) -> None:
    os.chown(record(yard), 4242, -1)


def record_that_others_write(yard: Yard) -> None:
    record(yard).chmod(0o622)


def record_in_a_directory_that_others_write(yard: Yard) -> None:
    record(yard).parent.chmod(0o777)


def record_by_a_link(yard: Yard) -> None:
    record(yard).symlink_to(record(yard).rename(yard.lab.scratch / "elsewhere"))


@pytest.mark.parametrize(
    "tamper",
    [
        other_program,
        same_code_loaded_again,
        table_instead_of_program,
        somebody_elses_record,
        record_that_others_write,
        record_in_a_directory_that_others_write,
        record_by_a_link,
        lambda yard: (pinned(yard) / "prog_dnsfw_share").unlink(),
        lambda yard: record(yard).unlink(),
        lambda yard: record(yard).write_text("[]"),
        lambda yard: record(yard).write_bytes(b"\0" * 100),
        lambda yard: change(yard, lambda said: said.pop("programs")),
        lambda yard: change(yard, lambda said: said["programs"].pop("dnsfw_asker")),
        lambda yard: change(yard, lambda said: said["programs"]["dnsfw_asker"].clear()),
        lambda yard: change(yard, lambda said: said.update(key="another object")),
        lambda yard: change(yard, lambda said: said["maps"].update(dnsfw_roles=1)),
    ],
)
def test_what_does_not_fit_is_loaded_anew(tamper: Callable[[Yard], object], yard: Yard) -> None:
    """Row 47: what stands in for a program of ours is nobody's door."""
    first = open_wall(yard)
    before = numbers(first)
    leave(yard, first)
    tamper(yard)

    again = open_wall(yard)

    assert again.adopted and Counting.loads == 2
    assert not set(numbers(again).values()) & set(before.values())
    with yard.here.entered():
        assert all(hook.attached for hook in again.hooks())
    assert yard.sends(PEER) and not yard.sends("10.9.0.77")
    found = numbers(again)
    leave(yard, again)
    third = open_wall(yard)  # and from then on these, where they can be noted
    safe = tamper is not record_in_a_directory_that_others_write
    assert Counting.loads == (2 if safe else 3)
    assert (numbers(third) == found) == safe
    leave(yard, third, remove=True)


def test_a_table_that_was_swapped_is_not_adopted_with_the_programs(yard: Yard) -> None:
    """The programs look into the table that they were loaded with: both or none."""
    leave(yard, open_wall(yard))
    other_table(yard)

    again = open_wall(yard)

    assert Counting.loads == 2
    assert yard.sends(PEER) and not yard.sends("10.9.0.77")
    leave(yard, again, remove=True)


def test_an_upgrade_replaces_every_program(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_wall(yard)
    before = numbers(first)
    leave(yard, first)
    monkeypatch.setattr(Counting, "key", lambda self: "another object")

    again = open_wall(yard)

    assert Counting.loads == 2 and not set(numbers(again).values()) & set(before.values())
    leave(yard, again)
    same = open_wall(yard)
    assert Counting.loads == 2
    leave(yard, same, remove=True)


def test_a_hook_that_runs_another_program_gets_ours_back(yard: Yard) -> None:
    """Row 44: the pins are untouched, but a link leads elsewhere."""
    wall = open_wall(yard)
    leave(yard, wall)
    (pin,) = pinned(yard).glob("tcx_*_egress")
    with Closing(bpf.obj_get(pin)) as link, Closing(bpf.load_drop()) as drop:
        ours = links.link_info(link).program_id
        links.link_update(link, drop)

    again = open_wall(yard)

    with Closing(bpf.obj_get(pin)) as link:
        assert links.link_info(link).program_id == ours
    assert Counting.loads == 1
    assert yard.sends(PEER) and not yard.sends("10.9.0.77")
    leave(yard, again, remove=True)


def test_a_record_that_cannot_be_written_costs_only_time(yard: Yard, tmp_path: Path) -> None:
    with yard.here.entered():
        loaded = LibbpfBackend().load({})
        try:
            Standing(tmp_path / "none" / "programs", "key").remember(tmp_path, loaded)
            assert Standing(tmp_path / "none" / "programs", "key").recall(tmp_path) is None
        finally:
            loaded.close()
