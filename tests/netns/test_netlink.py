"""The clsact fallback through pyroute2, also where an event loop runs already."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from dnsfw.datapath import devices, links, netlink
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.netlink import Side
from dnsfw.errors import DatapathError
from tests.support.netlab import Lab

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_netns]


@pytest.fixture
def eth0(lab: Lab) -> Iterator[int]:
    """The number of a device, in whose namespace the test runs."""
    netns = lab.namespace("here")
    netns.ip("link add eth0 type veth peer name eth1")
    with netns.entered():
        device = devices.device("eth0")
        assert device is not None
        yield device.index


def test_a_qdisc_comes_and_goes(eth0: int) -> None:
    assert not netlink.has_clsact(eth0)
    netlink.add_clsact(eth0)
    assert netlink.has_clsact(eth0)

    netlink.remove_clsact(eth0)

    assert not netlink.has_clsact(eth0)


def test_a_second_qdisc_is_an_error_that_names_what_is_needed(eth0: int) -> None:
    netlink.add_clsact(eth0)

    with pytest.raises(DatapathError, match=r"traffic control: .*CAP_NET_ADMIN"):
        netlink.add_clsact(eth0)


def test_what_is_gone_needs_no_removal(eth0: int) -> None:
    netlink.remove_clsact(eth0)
    netlink.remove_filter(eth0, Side.EGRESS)
    netlink.remove_clsact(999)
    netlink.remove_filter(999, Side.INGRESS)

    assert netlink.filters(999, Side.EGRESS) == ()


@pytest.mark.needs_bpf
def test_setting_a_filter_again_replaces_it_in_its_place(eth0: int) -> None:
    loaded = LibbpfBackend().load({})
    one, two = loaded.programs["dnsfw_tc_egress"], loaded.programs["dnsfw_tc_egress_l3"]
    netlink.add_clsact(eth0)

    netlink.set_filter(eth0, Side.EGRESS, one.fd, "one")
    (before,) = netlink.filters(eth0, Side.EGRESS)
    netlink.set_filter(eth0, Side.EGRESS, two.fd, "two")
    (after,) = netlink.filters(eth0, Side.EGRESS)

    assert (before.program_id, after.program_id) == (links.prog_id(one.fd), links.prog_id(two.fd))
    assert before.ours and after.ours
    assert netlink.filters(eth0, Side.INGRESS) == ()
    netlink.remove_filter(eth0, Side.EGRESS)
    assert netlink.filters(eth0, Side.EGRESS) == ()
    loaded.close()


def test_it_works_inside_a_running_event_loop(eth0: int) -> None:
    async def inside() -> bool:
        netlink.add_clsact(eth0)
        return netlink.has_clsact(eth0)

    assert asyncio.run(inside())


def test_a_watch_sees_a_device_and_an_address_appear(lab: Lab) -> None:
    netns = lab.namespace("watched")
    with netns.entered():
        watch = devices.DeviceWatch()
        watch.drain()
        netns.ip("link add eth0 type veth peer name eth1")
        assert watch.drain()
        assert {d.name for d in devices.devices()} >= {"lo", "eth0", "eth1"}

        netns.ip("addr add 192.0.2.9/24 dev eth0")
        assert watch.drain()
        assert devices.addr_from("192.0.2.9") in devices.addresses()
        assert not watch.drain()
        watch.close()
