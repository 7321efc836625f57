"""Kernels whose packet hooks cannot name a socket's namespace: the option is off everywhere.

No socket of a test run has a record: each is one that is older than the wall.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from dnsfw.datapath import abi, libbpf
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.locals import Locals
from dnsfw.datapath.own import netns_cookie
from dnsfw.model import Reason, addr_from
from tests.support.netlab import Netns
from tests.support.packets import HOST4, HOST6, IP4, IP6, TCP, UDP, Part
from tests.support.wall import CG_EGRESS, TC, Wall

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_bpf]

THERE, CONTAINER4, CONTAINER6 = "203.0.113.9", "172.17.0.2", "fd00:17::2"
FROM_HOST = [
    pytest.param(IP4(THERE, UDP(80)), id="v4"),
    pytest.param(IP6("2001:db8::9", UDP(80)), id="v6"),
    pytest.param(IP4(THERE, TCP(80)), id="TCP"),
    pytest.param(IP4(THERE, UDP(80), src="0.0.0.0"), id="no source yet"),
    pytest.param(IP4(THERE, UDP(80), src="127.0.0.1"), id="loopback, which all have"),
]
FROM_CONTAINER = [
    pytest.param(IP4(THERE, UDP(80), src=CONTAINER4), id="v4"),
    pytest.param(IP6("2001:db8::9", TCP(80), src=CONTAINER6), id="v6"),
]


@pytest.fixture(scope="module")
def blind() -> Iterator[Loaded]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libbpf, "netns_cookie_in_skb_hooks", lambda: False)
        kernel = libbpf.LibbpfBackend().load({})
    yield kernel
    kernel.close()


@pytest.fixture
def older(blind: Loaded, apart: Netns) -> Iterator[Wall]:
    """The root cgroup of a host is guarded; its addresses are known."""
    with apart.entered():
        wall = Wall(blind, socket.if_nametoindex("eth0"), netns_cookie())
        wall.settle(netns=netns_cookie(), only_netns=True)
        Locals(wall.table("dnsfw_locals"), 0).refresh([addr_from(HOST4), addr_from(HOST6)])
        yield wall


@pytest.mark.parametrize("packet", FROM_HOST)
def test_a_socket_with_an_address_of_the_host_is_judged(older: Wall, packet: Part) -> None:
    assert older.judge(CG_EGRESS, packet).reason is Reason.NEVER_RESOLVED


@pytest.mark.parametrize("packet", FROM_CONTAINER)
def test_a_socket_with_another_address_is_left_to_its_guards(older: Wall, packet: Part) -> None:
    assert older.judge(CG_EGRESS, packet).reason is Reason.OTHER_NETNS


def test_row_15_a_made_up_source_over_lo_is_no_container(older: Wall) -> None:
    """The kernel would answer it, and nobody judges that answer but as upkeep."""
    made_up = IP6("::1", UDP(9), src="2001:db8::9")
    among_themselves = IP6(CONTAINER6, UDP(9), src=CONTAINER6)

    assert older.judge(CG_EGRESS, made_up, device=1).reason is Reason.SPOOFED
    assert older.judge(CG_EGRESS, among_themselves, device=1).reason is Reason.OTHER_NETNS


@pytest.mark.parametrize("packet", FROM_CONTAINER)
def test_at_the_hosts_devices_nobody_is_let_through(older: Wall, packet: Part) -> None:
    assert older.judge(TC, packet).reason is Reason.NEVER_RESOLVED


@pytest.mark.parametrize("packet", FROM_CONTAINER)
def test_a_wall_of_one_cgroup_judges_every_namespace(older: Wall, packet: Part) -> None:
    older.settle(netns=netns_cookie(), only_netns=False)

    assert older.judge(CG_EGRESS, packet).reason is Reason.NEVER_RESOLVED


@pytest.mark.parametrize("packet", FROM_CONTAINER)
def test_without_a_list_every_socket_is_judged(older: Wall, packet: Part) -> None:
    older.table("dnsfw_locals").delete(abi.LocalKey(0, bytes(16)).pack())

    assert older.judge(CG_EGRESS, packet).reason is Reason.NEVER_RESOLVED


@pytest.mark.parametrize("packet", FROM_CONTAINER)
def test_the_list_of_a_stopped_daemon_still_tells_them_apart(older: Wall, packet: Part) -> None:
    Locals(older.table("dnsfw_locals"), 0).stop()

    assert older.judge(CG_EGRESS, packet).reason is Reason.OTHER_NETNS
