"""What follows from a change of subjects: watches, word to who relabels, whose a connection is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dnsfw.datapath import whose as whose_module
from dnsfw.datapath.memory import MemoryMap, memory_maps
from dnsfw.datapath.resolve import Host, Resolver
from dnsfw.datapath.sockdiag import TCP_ESTABLISHED, Connection
from dnsfw.datapath.subjects import Subjects
from dnsfw.model import HOST, Rank, RoleId, Subject, SubjectKind, addr_from
from dnsfw.server.ownership import Ownership

WEB, DB = RoleId(16), RoleId(17)


def cgroup(name: str, role: RoleId = WEB) -> Subject:
    return Subject(role, SubjectKind.CGROUP, f"/{name}")


def user(name: str, role: RoleId = WEB) -> Subject:
    return Subject(role, SubjectKind.UID, name)


class Desk:
    """A tree of cgroups in a directory, each with processes, and who was told of them."""

    def __init__(self, top: Path, maps: dict[str, MemoryMap] | None = None) -> None:
        self.top = top
        self.maps = maps if maps is not None else memory_maps()
        self.told: list[tuple[tuple[int, ...], RoleId]] = []
        self.watched: set[Path] = set()
        host = Host(lambda: top, {"www": 33}.get, lambda _: None, dict, lambda: 0.0, dict)
        self.owners = Ownership(
            Subjects(self.maps, Resolver(0, host)), self.watch, top, adopted=maps is not None
        )

    def watch(self, places: object) -> bool:
        before, self.watched = self.watched, set(places)  # type: ignore[call-overload]
        return bool(self.watched - before)

    def relabel(self, pids: Sequence[int], role: RoleId) -> None:
        self.told.append((tuple(pids), role))

    def make(self, name: str, *pids: int) -> int:
        path = self.top / name
        path.mkdir()
        (path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        return path.stat().st_ino


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(whose_module, "owner_of", {1: (0, 0), 2: (33, 33), 3: (33, 33)}.get)
    monkeypatch.setattr("dnsfw.server.ownership.cgroup.root", lambda: tmp_path)
    return Desk(tmp_path)


def test_processes_that_ran_before_the_wall_are_told_to_who_relabels(desk: Desk) -> None:
    desk.make("web", 1)
    desk.make("other", 2)
    desk.owners.assign([cgroup("web"), user("www", DB)])
    desk.owners.catch_up()  # nobody relabels yet
    desk.owners.relabel_by(desk.relabel)

    desk.owners.catch_up()
    desk.owners.catch_up()

    assert sorted(desk.told) == [((1,), WEB), ((2,), DB)]


def test_a_unit_that_starts_gets_its_role_and_its_first_sockets_are_relabelled(
    desk: Desk,
) -> None:
    desk.owners.relabel_by(desk.relabel)
    desk.owners.assign([cgroup("web")])
    desk.owners.catch_up()
    assert desk.owners.absent == ("cgroup /web does not exist yet",)
    assert desk.top in desk.watched

    desk.make("web", 1)
    done = desk.owners.refresh()
    desk.owners.catch_up()

    assert [r.what for r in done] == ["cgroup /web is there now: it has its role"]
    assert not any(r.tamper for r in done)
    assert desk.told == [((1,), WEB)]
    assert desk.owners.refresh() == []


def test_a_unit_that_restarts_is_told_as_made_anew(desk: Desk) -> None:
    desk.make("web", 1)
    desk.owners.assign([cgroup("web")])
    (desk.top / "web").rename(desk.top / "old")  # another directory of that name

    desk.make("web", 2)

    assert [r.what for r in desk.owners.refresh()] == [
        "a subject was made anew: it has its role again"
    ]


def test_what_goes_is_told(desk: Desk) -> None:
    desk.make("web")
    desk.owners.assign([cgroup("web")])
    (desk.top / "web").rename(desk.top / "old")

    assert [r.what for r in desk.owners.refresh()] == ["cgroup /web is gone"]


def test_a_cgroup_that_came_between_the_look_and_the_watch_is_found(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(places: object) -> bool:
        if not (desk.top / "web").exists():
            desk.make("web")
            return True
        return False

    monkeypatch.setattr(desk.owners, "_watch", late)

    desk.owners.assign([cgroup("web")])

    assert desk.owners.absent == ()


def test_at_a_reload_only_what_changed_hands_is_told(desk: Desk) -> None:
    desk.owners.relabel_by(desk.relabel)
    desk.make("web", 1)
    desk.make("db", 2)
    desk.owners.assign([cgroup("web"), cgroup("db", DB)])
    desk.owners.catch_up()
    desk.told.clear()

    desk.owners.assign([cgroup("web"), cgroup("db", WEB)])
    desk.owners.catch_up()

    assert desk.told == [((2,), WEB)]


def test_a_restart_tells_only_of_what_happened_meanwhile(desk: Desk) -> None:
    desk.make("web", 1)
    desk.owners.assign([cgroup("web"), cgroup("db", DB)])
    desk.make("db", 2)  # while nobody looked

    again = Desk(desk.top, desk.maps)
    again.owners.assign([cgroup("web"), cgroup("db", DB)])
    again.owners.relabel_by(again.relabel)
    again.owners.catch_up()

    assert again.told == [((2,), DB)]


def test_a_connection_is_its_cgroups_then_its_users(desk: Desk) -> None:
    web, other = desk.make("web"), desk.make("other")
    desk.owners.assign([cgroup("web"), user("www", DB)])
    owner = desk.owners.owner()

    def connection(cgroup: int, user: int) -> Connection:
        addr = addr_from("203.0.113.9")
        return Connection(TCP_ESTABLISHED, addr, 40000, addr, 443, cgroup, b"", user=user)

    assert owner(connection(web, 33)) == WEB
    assert owner(connection(other, 33)) == DB
    assert owner(connection(other, 34)) == HOST
    assert owner(connection(999, 33)) is None  # not guarded

    desk.owners.assign([])
    assert desk.owners.owner_before()(connection(web, 33)) == WEB
    assert desk.owners.owner()(connection(web, 33)) == HOST


def test_a_cgroup_made_for_the_enrolled_counts(desk: Desk) -> None:
    number = desk.make("made")

    desk.owners.subjects.register(number, DB, Rank.ENROLLED)

    assert desk.owners.subjects.whose.cgroups == {number: (DB, Rank.ENROLLED)}
