"""Links to cgroups and devices, as the kernel tells of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dnsfw.datapath import cgroup, devices, links
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.syscall import AttachType, BpfError, Closing
from tests.support.guarded import Yard, open_yard
from tests.support.netlab import Lab

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
]
EGRESS = AttachType.CGROUP_INET_EGRESS


@pytest.fixture
def yard(lab: Lab) -> Yard:
    return open_yard(lab)


@pytest.fixture
def loaded() -> Iterator[Loaded]:
    made = LibbpfBackend().load({})
    yield made
    made.close()


def test_a_cgroup_link_tells_its_cgroup_and_its_program(yard: Yard, loaded: Loaded) -> None:
    program = loaded.programs["dnsfw_cg_egress"]
    with ExitStack() as stack:
        group = stack.enter_context(Closing(os.open(yard.cgroup.path, os.O_RDONLY)))
        link = stack.enter_context(Closing(links.link_create(program.fd, group, EGRESS)))

        info = links.link_info(link)

        assert info == links.LinkInfo(links.prog_id(program.fd), cgroup.id_of(yard.cgroup.path))
        assert links.prog_query(group, EGRESS) == (info.program_id,)


def test_a_tcx_link_tells_its_device_and_is_first_when_asked(yard: Yard, loaded: Loaded) -> None:
    first, second = loaded.programs["dnsfw_tc_egress"], loaded.programs["dnsfw_tc_egress_l3"]
    with yard.here.entered(), ExitStack() as stack:
        device = devices.device("eth0")
        assert device is not None
        for program in (second, first):
            link = stack.enter_context(
                Closing(links.link_create(program.fd, device.index, AttachType.TCX_EGRESS, flags=8))
            )

        assert links.link_info(link).target == device.index
        assert links.prog_query(device.index, AttachType.TCX_EGRESS) == (
            links.prog_id(first.fd), links.prog_id(second.fd),
        )  # fmt: skip


def test_an_updated_link_stays_in_its_place(yard: Yard, loaded: Loaded) -> None:
    again = LibbpfBackend().load({name: table.fd for name, table in loaded.maps.items()})
    with ExitStack() as stack:
        stack.callback(again.close)
        group = stack.enter_context(Closing(os.open(yard.cgroup.path, os.O_RDONLY)))
        old, new = loaded.programs["dnsfw_cg_egress"], again.programs["dnsfw_cg_egress"]
        link = stack.enter_context(Closing(links.link_create(old.fd, group, EGRESS)))

        links.link_update(link, new.fd)

        assert links.prog_query(group, EGRESS) == (links.prog_id(new.fd),)
        assert links.link_info(link).program_id == links.prog_id(new.fd)


def test_a_detached_link_has_no_target(yard: Yard, loaded: Loaded) -> None:
    with ExitStack() as stack:
        group = stack.enter_context(Closing(os.open(yard.cgroup.path, os.O_RDONLY)))
        program = loaded.programs["dnsfw_cg_egress"]
        link = stack.enter_context(Closing(links.link_create(program.fd, group, EGRESS)))

        links.link_detach(link)

        assert links.link_info(link).target == 0
        assert links.prog_query(group, EGRESS) == ()


def test_a_program_is_reached_by_its_number(loaded: Loaded) -> None:
    number = links.prog_id(loaded.programs["dnsfw_connect4"].fd)

    with Closing(links.prog_by_id(number)) as fd:
        assert links.prog_id(fd) == number


def test_the_wrong_program_for_a_place_is_refused(yard: Yard, loaded: Loaded) -> None:
    program = loaded.programs["dnsfw_connect4"]
    with Closing(os.open(yard.cgroup.path, os.O_RDONLY)) as group, pytest.raises(BpfError):
        links.link_create(program.fd, group, EGRESS)
