"""The words of subjects on a host of the test's own making."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.resolve import Found, Host, Resolver, find, group_id, places, user_id
from dnsfw.datapath.rows import DEVICES, IDS, SOURCES, VIA, cgroup_row
from dnsfw.errors import ConfigError
from dnsfw.model import HOST, Rank, RoleId, Subject, SubjectKind

WEB, DB = RoleId(16), RoleId(17)
NETNS = 9


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "system.slice/nginx.service/worker").mkdir(parents=True)
    (tmp_path / "user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service").mkdir(
        parents=True
    )
    return tmp_path


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def host(top: Path, devices: dict[str, int], clock: Clock | None = None) -> Host:
    ports = {"br0": ("veth7", "veth8")}
    return Host(
        lambda: top, {"www": 33}.get, {"www": 34}.get, lambda: devices, clock or Clock(),
        lambda: ports,
    )  # fmt: skip


def subject(kind: str, value: str, role: RoleId = WEB, interface: str = "") -> Subject:
    return Subject(role, SubjectKind(kind), value, interface)


def found(top: Path, *subjects: Subject, **devices: int) -> Found:
    return Resolver(NETNS, host(top, devices)).resolve(subjects)


def values(found: Found, table: str) -> dict[bytes, int]:
    return {
        row.key: int.from_bytes(row.value[:4], "little")
        for row in found.rows.values()
        if row.table == table
    }


def test_a_cgroup_by_path_and_by_unit_is_the_same_row(top: Path) -> None:
    number = (top / "system.slice/nginx.service").stat().st_ino
    row = cgroup_row(number, (WEB, Rank.CGROUP))

    for value in ("/system.slice/nginx.service", "nginx.service"):
        assert list(found(top, subject("cgroup", value)).rows.values()) == [row]


def test_a_users_manager_cannot_make_itself_a_unit_of_the_system(top: Path) -> None:
    assert find("nginx.service", top) == [top / "system.slice/nginx.service"]
    assert find("app.slice", top) == []


def test_a_cgroup_that_does_not_exist_is_missed_and_looked_out_for(top: Path) -> None:
    path, unit = subject("cgroup", "/a/b/c"), subject("cgroup", "db.service")

    what = found(top, path, unit)

    assert what.absent == ["cgroup /a/b/c", "cgroup db.service"]
    assert not what.rows
    slices = {"", "system.slice", "user.slice", "user.slice/user-1000.slice"}
    assert what.places == {top / name for name in slices}


@pytest.mark.parametrize(
    ("value", "place"),
    [("/system.slice/nginx.service", "system.slice"), ("/system.slice/x/y", "system.slice"),
     ("/x", "")],
)  # fmt: skip
def test_the_nearest_directory_that_exists_is_watched(top: Path, value: str, place: str) -> None:
    assert places(value, top) == {top / place}


def test_a_cgroup_deeper_than_the_hooks_look_is_refused(top: Path) -> None:
    with pytest.raises(ConfigError, match="deeper than 15 levels"):
        found(top, subject("cgroup", "/a" * 16))

    assert found(top, subject("cgroup", "/a" * 15)).absent


def test_users_and_groups_by_name_and_number(top: Path) -> None:
    what = found(top, subject("uid", "www"), subject("gid", "www", DB))

    assert values(what, IDS) == {
        abi.IdKey(abi.IdKind.ID_USER, 33).pack(): WEB,
        abi.IdKey(abi.IdKind.ID_GROUP, 34).pack(): DB,
    }
    assert (user_id("0"), group_id("12345"), user_id("root")) == (0, 12345, 0)
    assert user_id("nobody-has-this-name") is None is group_id("nobody-has-this-name")


def test_a_name_that_is_not_known_is_asked_for_again_but_not_every_second(top: Path) -> None:
    clock = Clock()
    known: dict[str, int] = {}
    asked = []

    def ask(name: str) -> int | None:
        asked.append(name)
        return known.get(name)

    resolver = Resolver(NETNS, replace(host(top, {}, clock), user=ask))
    late = subject("uid", "late")
    assert resolver.resolve([late]).absent == ["user late"]
    known["late"] = 1001
    assert resolver.resolve([late]).absent == ["user late"]
    clock.now = 30.0

    assert list(values(resolver.resolve([late]), IDS)) == [
        abi.IdKey(abi.IdKind.ID_USER, 1001).pack()
    ]
    clock.now = 90.0
    resolver.resolve([late])
    assert asked == ["late", "late"]  # what is known stays until the next policy
    resolver.forget_names()
    resolver.resolve([late])
    assert len(asked) == 3


def test_an_interface_is_a_guests_link(top: Path) -> None:
    what = found(top, subject("interface", "veth7"), subject("interface", "veth8"), veth7=7)

    assert values(what, DEVICES) == {abi.DeviceKey(NETNS, 7).pack(): WEB}
    assert what.guests == {"veth7", "veth8"}
    assert what.absent == ["interface veth8"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_source_behind_a_link_leaves_the_others_there_to_who_has_the_link(
    top: Path, turned: bool
) -> None:
    source = subject("source", "10.1.0.0/16", WEB, "lan0")
    link = subject("interface", "lan0", DB)

    alone = found(top, source, lan0=3)
    both = found(top, *([link, source] if turned else [source, link]), lan0=3)

    assert values(alone, DEVICES) == {abi.DeviceKey(NETNS, 3).pack(): HOST}
    assert values(both, DEVICES) == {abi.DeviceKey(NETNS, 3).pack(): DB}
    assert list(values(both, SOURCES).values()) == [WEB]
    assert alone.guests == {"lan0"}


@pytest.mark.parametrize("turned", [False, True])
def test_a_bridges_ports_to_guests_are_the_bridges_unless_they_are_named(
    top: Path, turned: bool
) -> None:
    named = [subject("interface", "br0"), subject("interface", "veth8", DB)]

    what = found(top, *(reversed(named) if turned else named), br0=2, veth7=7, veth8=8)

    assert {abi.DeviceKey.unpack(k).ifindex: r for k, r in values(what, DEVICES).items()} == {
        2: WEB, 7: WEB, 8: DB,
    }  # fmt: skip
    assert what.guests == {"br0", "veth7", "veth8"}


def test_a_source_on_a_bridge_is_known_at_its_ports(top: Path) -> None:
    what = found(top, subject("source", "10.1.0.5", WEB, "br0"), br0=2, veth7=7, veth8=8)

    assert {abi.SourceKey.unpack(key).ifindex for key in values(what, SOURCES)} == {2, 7, 8}
    assert set(values(what, DEVICES).values()) == {HOST}


def test_a_source_of_any_device_makes_no_guest(top: Path) -> None:
    what = found(top, subject("source", "10.1.0.0/16"))

    assert abi.SourceKey.unpack(next(iter(values(what, SOURCES)))).ifindex == 0
    assert not what.guests


def test_a_source_whose_link_is_missing_has_no_row_that_any_link_could_use(top: Path) -> None:
    what = found(top, subject("source", "10.1.0.0/16", WEB, "lan0"))

    assert not what.rows
    assert what.absent == ["interface lan0"]


def test_via_is_of_host_unless_it_says_of_whom(top: Path) -> None:
    plain = subject("via", "eth0")
    of_web = replace(subject("via", "eth0", DB), base=WEB)

    what = found(top, plain, of_web, eth0=2)

    assert values(what, VIA) == {
        abi.ViaKey(NETNS, 2, HOST).pack(): WEB,
        abi.ViaKey(NETNS, 2, WEB).pack(): DB,
    }


def test_the_first_in_the_file_wins_where_two_words_mean_one_thing(top: Path) -> None:
    path = subject("cgroup", "/system.slice/nginx.service", DB)

    what = found(top, subject("cgroup", "nginx.service"), path)

    (row,) = what.rows.values()
    assert abi.Subject.unpack(row.value).role == WEB


def test_a_real_source_beats_the_shield_of_a_wide_one(top: Path) -> None:
    for order in (("::/0", "0.0.0.0/0"), ("0.0.0.0/0", "::/0")):
        what = found(top, *(subject("source", prefix) for prefix in order))

        assert set(values(what, SOURCES).values()) == {WEB}


def test_an_executable_has_no_row_of_its_own(top: Path) -> None:
    what = found(top, subject("executable", "/usr/bin/curl"))

    assert not what.rows and not what.absent
