"""The sockets that a run's queries are led to."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import pytest

from dnsfw.errors import DatapathError
from dnsfw.model import addr_from
from dnsfw.server.run_doors import RunDoors
from dnsfw.server.tcp import TcpListener
from dnsfw.server.udp import UdpListener


def test_four_doors_and_one_for_tcp_a_family() -> None:
    made = RunDoors()

    try:
        udp = [i for i in made.listeners if isinstance(i, UdpListener)]
        tcp = [i for i in made.listeners if isinstance(i, TcpListener)]
        v4 = [i.endpoint.port for i in udp if i.endpoint.address.version == 4]
        assert made.doors.addr4 == addr_from("127.0.0.1")
        assert made.doors.udp4 == tuple(v4)
        assert len(set(v4)) == 4
        assert made.doors.tcp4 in {i.endpoint.port for i in tcp}
        assert made.netns != 0
    finally:
        made.close()


def test_a_host_without_ipv6_has_doors_for_ipv4() -> None:
    def only4(wanted: Sequence[tuple[int, int, Any]]) -> list[socket.socket]:
        if wanted[0][0] == socket.AF_INET6:
            raise OSError(97, "no IPv6")
        made = [socket.socket(family, kind) for family, kind, _ in wanted]
        for sock, (_, _, address) in zip(made, wanted, strict=True):
            sock.bind(address)
        return made

    made = RunDoors(only4)

    assert made.doors.udp6 == (0, 0, 0, 0)
    assert len(made.listeners) == 5
    made.close()


def test_a_loopback_that_is_down_is_said_with_its_remedy() -> None:
    def nothing(wanted: Sequence[tuple[int, int, Any]]) -> list[socket.socket]:
        raise OSError(99, "no address")

    with pytest.raises(DatapathError, match="ip link set lo up"):
        RunDoors(nothing)
