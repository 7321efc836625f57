"""Subjects in the tables: a difference, in an order that leaves nothing unassigned."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.memory import MemoryMap, memory_maps
from dnsfw.datapath.resolve import Host, Resolver
from dnsfw.datapath.rows import CGROUPS, DEVICES, IDS, TABLES, cgroup_row
from dnsfw.datapath.subjects import Subjects
from dnsfw.datapath.tables import number_key
from dnsfw.errors import DatapathError
from dnsfw.model import HOST, Rank, RoleId, Subject, SubjectKind

WEB, DB = RoleId(16), RoleId(17)
ENROLLED, EXECUTABLE = Rank.ENROLLED, Rank.EXECUTABLE
Log = list[tuple[str, str]]


class Watched(MemoryMap):
    """Remembers in which order it was written."""

    def __init__(self, name: str, log: Log, of: MemoryMap) -> None:
        super().__init__(of.capacity)
        self.data, self._name, self._log = of.data, name, log

    def update(self, key: bytes, value: bytes, /) -> None:
        self._log.append((self._name, "write"))
        super().update(key, value)

    def delete(self, key: bytes, /) -> bool:
        self._log.append((self._name, "delete"))
        return super().delete(key)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name in ("web", "db", "made"):
        (tmp_path / name).mkdir()
    return tmp_path


class Desk:
    """The tables, the host and whoever writes."""

    def __init__(self, top: Path, maps: dict[str, MemoryMap] | None = None) -> None:
        self.top = top
        self.log: Log = []
        self.maps = maps if maps is not None else memory_maps()
        self.devices = {"veth7": 7}
        watched = {name: Watched(name, self.log, table) for name, table in self.maps.items()}
        users = {"www": 33}.get
        host = Host(
            lambda: top, users, lambda _: None, lambda: self.devices, lambda: 0.0, dict
        )
        self.subjects = Subjects(watched, Resolver(9, host))

    def assign(self, *subjects: Subject) -> None:
        self.log.clear()
        self.subjects.assign(subjects)

    def cgroups(self) -> dict[int, tuple[int, int]]:
        return {
            int.from_bytes(key, "little"): tuple(abi.Subject.unpack(value))  # type: ignore[misc]
            for key, value in self.maps[CGROUPS].data.items()
        }

    def inode(self, name: str) -> int:
        return (self.top / name).stat().st_ino

    @property
    def uses(self) -> int:
        return abi.Settings.unpack(self.maps["dnsfw_settings"].data[number_key(0)]).uses


def cgroup(name: str, role: RoleId = WEB) -> Subject:
    return Subject(role, SubjectKind.CGROUP, f"/{name}")


def user(name: str, role: RoleId = WEB) -> Subject:
    return Subject(role, SubjectKind.UID, name)


def link(name: str, role: RoleId = WEB) -> Subject:
    return Subject(role, SubjectKind.INTERFACE, name)


def test_subjects_are_rows_and_the_hooks_know_which_tables_to_read(top: Path) -> None:
    desk = Desk(top)

    desk.assign(cgroup("web"), user("www"), link("veth7"))

    assert desk.cgroups() == {desk.inode("web"): (WEB, Rank.CGROUP)}
    assert len(desk.maps[IDS].data) == len(desk.maps[DEVICES].data) == 1
    assert desk.uses == TABLES[CGROUPS] | TABLES[IDS] | TABLES[DEVICES]
    assert desk.subjects.guests == {"veth7"}


def test_the_bit_of_a_table_is_set_before_its_first_row_and_cleared_after_its_last(
    top: Path,
) -> None:
    desk = Desk(top)

    desk.assign(cgroup("web"))
    assert desk.log == [("dnsfw_settings", "write"), (CGROUPS, "write")]

    desk.assign()
    assert desk.log == [(CGROUPS, "delete"), ("dnsfw_settings", "write")]
    assert desk.uses == 0


def test_bits_of_others_stay(top: Path) -> None:
    desk = Desk(top)
    doors = abi.Settings.unpack(bytes(16))._replace(uses=abi.Uses.DOORS, dns_port=53)
    desk.maps["dnsfw_settings"].data[number_key(0)] = doors.pack()

    desk.assign(user("www"))
    assert desk.uses == abi.Uses.DOORS | TABLES[IDS]
    desk.assign()
    assert desk.uses == abi.Uses.DOORS


def test_a_restart_writes_nothing_that_is_there_already(top: Path) -> None:
    Desk(top).assign(cgroup("web"), user("www"))
    maps = memory_maps()
    Desk(top, maps).assign(cgroup("web"), user("www"))

    again = Desk(top, maps)
    again.assign(cgroup("web"), user("www"))

    assert again.log == []


def test_a_change_writes_the_new_before_it_takes_the_old(top: Path) -> None:
    desk = Desk(top)
    desk.assign(cgroup("web"))

    desk.assign(cgroup("db", DB))

    assert desk.log == [(CGROUPS, "write"), (CGROUPS, "delete")]
    assert desk.cgroups() == {desk.inode("db"): (DB, Rank.CGROUP)}


def test_a_role_that_changes_is_one_write_in_place(top: Path) -> None:
    desk = Desk(top)
    desk.assign(cgroup("web"))

    desk.assign(cgroup("web", DB))

    assert desk.log == [(CGROUPS, "write")]


def test_what_appears_is_found_by_the_next_look_and_what_goes_is_forgotten(top: Path) -> None:
    desk = Desk(top)
    desk.assign(cgroup("late"))
    assert desk.subjects.absent == ("cgroup /late",)
    assert not desk.subjects.refresh()

    (top / "late").mkdir()
    assert desk.subjects.refresh()
    assert not desk.subjects.absent
    assert list(desk.cgroups()) == [desk.inode("late")]

    (top / "late").rmdir()
    assert desk.subjects.refresh()
    assert desk.cgroups() == {}


def test_a_cgroup_that_dnsfw_made_survives_reload_and_restart_while_it_exists(top: Path) -> None:
    desk = Desk(top)
    desk.assign(cgroup("web"))
    number = desk.inode("made")
    desk.subjects.register(number, DB, ENROLLED)
    desk.assign()
    assert desk.cgroups() == {number: (DB, ENROLLED)}

    again = Desk(top, desk.maps)
    assert again.subjects.registered == {number: (DB, ENROLLED)}
    again.assign()
    assert again.cgroups() == {number: (DB, ENROLLED)} and again.log == []

    (top / "made").rmdir()
    again.assign()
    assert again.cgroups() == {}


def test_a_forgotten_cgroup_has_what_the_policy_says_again(top: Path) -> None:
    desk = Desk(top)
    desk.assign(cgroup("made"))
    number = desk.inode("made")
    desk.subjects.register(number, DB, ENROLLED)
    assert desk.cgroups() == {number: (DB, ENROLLED)}

    desk.subjects.forget(number)
    desk.subjects.forget(12345)

    assert desk.cgroups() == {number: (WEB, Rank.CGROUP)}


def test_the_policys_cgroup_beats_a_programs(top: Path) -> None:
    desk = Desk(top)
    desk.assign(cgroup("made"))

    desk.subjects.register(desk.inode("made"), DB, EXECUTABLE)

    assert desk.cgroups() == {desk.inode("made"): (WEB, Rank.CGROUP)}


def test_whose_is_what_the_tables_say(top: Path) -> None:
    desk = Desk(top)
    desk.assign(cgroup("web"), user("www", DB))

    whose = desk.subjects.whose

    assert whose.cgroups == {desk.inode("web"): (WEB, Rank.CGROUP)}
    assert whose.role(None, 33) == DB and whose.role(None, 34) == HOST


def test_row_47_what_somebody_wrote_is_put_right_and_named(top: Path) -> None:
    desk = Desk(top)
    desk.assign(cgroup("web"), user("www"))
    assert desk.subjects.verify() == ()
    before = {name: dict(desk.maps[name].data) for name in (*TABLES, "dnsfw_settings")}

    desk.maps[CGROUPS].data.clear()
    stranger = cgroup_row(999, (DB, Rank.ENROLLED))
    desk.maps[CGROUPS].data[stranger.key] = stranger.value
    desk.maps["dnsfw_settings"].data[number_key(0)] = bytes(abi.Settings.SIZE)

    assert desk.subjects.verify() == (CGROUPS, "dnsfw_settings")
    assert {name: dict(desk.maps[name].data) for name in before} == before
    assert desk.subjects.verify() == ()


def test_a_full_table_is_told_by_its_limit(top: Path) -> None:
    desk = Desk(top, {**memory_maps(), IDS: MemoryMap(0)})

    with pytest.raises(DatapathError, match="dnsfw_ids is full: it takes 4096 subjects"):
        desk.assign(user("www"))
