"""Near or a stranger."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.model import HOST, NO_ROLE, RoleId
from dnsfw.server.neighbours import Held, Neighbours, connected

ROUTES4 = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t01020A0A\t0003\t0\t0\t100\t00000000\t0\t0\t0
ppp0\t00000000\t00000000\t0001\t0\t0\t200\t00000000\t0\t0\t0
eth0\t0002000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
eth0\t0003000A\t0102000A\t0003\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""
ROUTES6 = """\
20010db8000000000000000000000000 40 {z} 00 {z} 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 {z} 00 {z} 00000100 00000001 00000000 00000001     ppp0
20010db9000000000000000000000000 40 {z} 00 {g} 00000100 00000001 00000000 00000003     eth0
ff000000000000000000000000000000 08 {z} 00 {z} 00000100 00000001 00000000 00000001     eth0
""".format(z="0" * 32, g="20010db8" + "0" * 23 + "1")


@pytest.fixture
def some(tmp_path: Path) -> Neighbours:
    (tmp_path / "route").write_text(ROUTES4)
    (tmp_path / "ipv6_route").write_text(ROUTES6)
    return Neighbours(tmp_path / "route", tmp_path / "ipv6_route")


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("127.0.0.1", True), ("::1", True), ("fe80::1%eth0", True), ("10.0.2.77", True),
        ("10.0.3.1", False), ("192.0.2.1", False), ("2001:db8::7", True), ("2001:db9::7", False),
        ("8.8.8.8", False),
    ],
)  # fmt: skip
def test_row_104_near_is_who_is_on_a_network_of_this_host(
    some: Neighbours, address: str, near: bool
) -> None:
    assert some.is_near(address) is near
    assert some.role(HOST, address) == (HOST if near else NO_ROLE)
    assert some.strangers == (0 if near else 1)


def test_who_has_a_role_of_its_own_may_come_from_anywhere(some: Neighbours) -> None:
    assert some.role(RoleId(7), "192.0.2.1") == 7
    assert some.role(NO_ROLE, "127.0.0.1") == NO_ROLE


def test_routes_are_read_again_when_they_may_have_changed(some: Neighbours, tmp_path: Path) -> None:
    assert some.is_near("10.0.2.77")
    (tmp_path / "route").write_text("")
    assert some.is_near("10.0.2.77")
    some.forget()
    assert not some.is_near("10.0.2.77")


def test_this_host_has_its_own_routes_or_none() -> None:
    assert all(net.prefixlen >= 8 for net in connected())


def test_a_held_file_is_read_anew_each_time(tmp_path: Path) -> None:
    """A worker opens nothing any more when it is told that addresses have changed."""
    (tmp_path / "route").write_text(ROUTES4)
    held = Neighbours(Held(tmp_path / "route"), Held(tmp_path / "none"))
    assert held.is_near("10.0.2.77") and not held.is_near("2001:db8::7")

    (tmp_path / "route").write_text(ROUTES4.splitlines()[0])
    assert held.is_near("10.0.2.77")
    held.forget()

    assert not held.is_near("10.0.2.77")


def test_what_proc_says_fits_whatever_its_length(tmp_path: Path) -> None:
    text = "a line that is no route\n" * 10_000
    (tmp_path / "long").write_text(text)

    assert Held(tmp_path / "long").read_text() == text
    assert Held(Path("/proc/net/route")).read_text() == Path("/proc/net/route").read_text()
