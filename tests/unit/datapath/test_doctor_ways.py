"""Ways around the packet hooks: found below a root that is a directory."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dnsfw.datapath.checks import Check, Host
from dnsfw.datapath.doctor_ways import way_checks
from dnsfw.errors import DatapathError

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "cgroup/system.slice").mkdir(parents=True)
    (tmp_path / "cgroup/cgroup.procs").touch(mode=0o644)
    return Host(root=tmp_path, cgroup_root=lambda: tmp_path / "cgroup")


def check(host: Host, name: str) -> Check:
    return next(c for c in way_checks(host) if c.name == name)


def listen(root: Path, path: str, mode: int, group: int = 0) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    parent = os.open(place.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"/proc/self/fd/{parent}/{place.name}")  # a path of any length
    os.close(parent)
    place.chmod(mode)
    if group:
        os.chown(place, 0, group)


def test_a_bare_host_has_nothing_to_mend(host: Host) -> None:
    assert [c for c in way_checks(host) if not c.ok] == []


@pytest.mark.parametrize(
    ("path", "who"),
    [("/run/docker.sock", "Docker"), ("/run/dbus/system_bus_socket", "D-Bus"),
     ("/run/containerd/containerd.sock", "containerd")],
)  # fmt: skip
def test_row_33_a_privileged_service_that_everybody_reaches_is_named(
    host: Host, path: str, who: str
) -> None:
    listen(host.root, path, 0o666)

    found = check(host, "unix sockets")

    assert not found.ok
    assert f"{path} ({who}" in found.detail
    assert "by everybody" in found.detail
    assert "InaccessiblePaths" in found.remedy


@as_root
def test_row_33_the_group_that_reaches_it_is_named(host: Host) -> None:
    listen(host.root, "/run/docker.sock", 0o660, group=999)

    assert "by group 999" in check(host, "unix sockets").detail


def test_row_33_a_socket_of_root_alone_is_no_way(host: Host) -> None:
    listen(host.root, "/run/docker.sock", 0o600)
    (host.root / "run/crio").mkdir()
    (host.root / "run/crio/crio.sock").touch(mode=0o666)  # a file, and no service

    assert check(host, "unix sockets").ok


@pytest.mark.parametrize(
    ("path", "family"),
    [("dev/vsock", "vsock"), ("sys/class/bluetooth/hci0", "Bluetooth"),
     ("proc/net/can/stats", "CAN"), ("sys/module/tipc/refcnt", "TIPC")],
)  # fmt: skip
def test_row_34_a_family_that_no_hook_sees_is_named(host: Host, path: str, family: str) -> None:
    (host.root / path).parent.mkdir(parents=True)
    (host.root / path).touch()

    found = check(host, "other families")

    assert not found.ok
    assert found.detail.startswith(family)
    assert "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK" in found.remedy


def test_row_34_an_empty_class_is_no_device(host: Host) -> None:
    (host.root / "sys/class/bluetooth").mkdir(parents=True)

    assert check(host, "other families").ok


@pytest.mark.parametrize("mode", [0o646, 0o664])
def test_row_42_a_tree_that_others_may_write_is_told(host: Host, mode: int) -> None:
    (host.root / "cgroup/cgroup.procs").chmod(mode)

    found = check(host, "cgroup writers")

    assert not found.ok
    assert "chmod go-w" in found.remedy
    assert "roles by cgroup" in found.lost


@as_root
def test_row_42_a_tree_of_somebody_else_is_told(host: Host) -> None:
    os.chown(host.root / "cgroup/cgroup.procs", NOBODY, NOBODY)

    assert not check(host, "cgroup writers").ok


@as_root
def test_row_42_what_was_handed_to_a_user_is_named_and_no_fault(host: Host) -> None:
    for number in range(5):
        delegated = host.root / f"cgroup/user.slice/user@{number}.service"
        (delegated / "below").mkdir(parents=True)
        os.chown(delegated, 1000 + number, 0)
        os.chown(delegated / "below", 1000 + number, 0)

    found = check(host, "cgroup writers")

    assert found.ok
    assert "/user.slice/user@0.service (uid 1000)" in found.detail
    assert found.detail.endswith("2 more")
    assert "below" not in found.detail


def test_row_43_without_version_2_there_is_nothing_to_leave(host: Host) -> None:
    def missing() -> Path:
        raise DatapathError("only version 1")

    bare = Host(root=host.root, cgroup_root=missing)

    assert "cgroup writers" not in {c.name for c in way_checks(bare)}
