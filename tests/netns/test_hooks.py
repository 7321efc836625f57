"""Places: what a device gets, and what tells one namespace's device from another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.datapath import hooks
from dnsfw.datapath.devices import Device, Layer
from dnsfw.datapath.syscall import AttachType, BpfError
from tests.support.guarded import CURRENT, Yard, open_yard
from tests.support.netlab import Lab

FRAME = Device(7, "eth0", Layer.FRAME, loopback=False, up=True)
PACKET = Device(8, "tun0", Layer.PACKET, loopback=False, up=True)


@pytest.fixture
def yard(lab: Lab) -> Yard:
    return open_yard(lab)


@pytest.mark.parametrize("tcx", [True, False])
def test_the_link_type_chooses_the_program(tcx: bool) -> None:
    assert [p.program for p in hooks.device_places(FRAME, tcx=tcx)] == [
        "dnsfw_tc_ingress", "dnsfw_tc_egress",
    ]  # fmt: skip
    assert [p.program for p in hooks.device_places(PACKET, tcx=tcx)] == [
        "dnsfw_tc_ingress_l3", "dnsfw_tc_egress_l3",
    ]  # fmt: skip


def test_no_two_places_share_a_pin_and_no_pin_has_a_dot() -> None:
    places = [
        *hooks.device_places(FRAME, tcx=True),
        *hooks.device_places(FRAME, tcx=False),
        *hooks.device_places(PACKET, tcx=True),
    ]

    pins = [place.pin for place in places]

    assert len(set(pins)) == len(pins)
    assert [pin for pin in pins if "." in pin] == []


def test_what_remembers_stands_before_what_refuses() -> None:
    order = [name for name, _ in hooks._CGROUP_PROGRAMS]

    assert order.index("dnsfw_cg_ingress") < order.index("dnsfw_cg_egress")
    assert order[0] == "dnsfw_sock_create"


def test_a_kernel_that_cannot_list_tcx_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> tuple[int, ...]:
        raise BpfError("list", 22)

    monkeypatch.setattr(hooks.links, "prog_query", refuse)

    assert not hooks.has_tcx()


@pytest.mark.parametrize("way", ["", "/proc/1/root", "/proc/42/fd/7"])
def test_a_cgroup_is_shown_by_its_own_name_whatever_way_leads_there(way: str) -> None:
    kind = AttachType.CGROUP_INET_EGRESS
    place = hooks.CgroupPlace("dnsfw_cg_egress", kind, Path(f"{way}/sys/fs/cgroup/a"), 7)

    assert place.target == "/sys/fs/cgroup/a"


@pytest.mark.needs_root
@pytest.mark.needs_netns
def test_the_same_interface_number_elsewhere_is_another_place(yard: Yard) -> None:
    with yard.here.entered():
        here = {p.pin for p in hooks.device_places(FRAME, tcx=True)}
    with yard.there.entered():
        there = {p.pin for p in hooks.device_places(FRAME, tcx=True)}

    assert not here & there


@pytest.mark.needs_root
@pytest.mark.needs_bpf
@pytest.mark.needs_netns
@pytest.mark.needs_cgroup
def test_a_filter_of_another_namespace_is_not_removed_from_this_one(yard: Yard) -> None:
    with yard.wall(yard.config(tcx=False)):
        pass
    directory = yard.pin_dir / CURRENT

    with yard.there.entered():
        failed = hooks.give_back(directory)

    assert len(failed) == 2
    assert "network namespace" in failed[0]
    assert "clsact" in yard.qdiscs()
    assert sorted(p.name.split("_")[0] for p in directory.glob("clsact_*")) == ["clsact"] * 2
