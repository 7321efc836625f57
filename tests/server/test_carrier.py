"""Sockets that belong to the daemon before they touch anybody."""

from __future__ import annotations

import socket

import pytest

from dnsfw.errors import DatapathError
from dnsfw.server.address import parse_endpoint
from dnsfw.server.carrier import fresh


@pytest.mark.parametrize(
    ("where", "level", "option"),
    [("127.0.0.1", socket.IPPROTO_IP, 10), ("[::1]:53", socket.IPPROTO_IPV6, 23)],
)
def test_row_82_path_mtu_lies_do_not_change_what_is_sent(
    where: str, level: int, option: int
) -> None:
    marked: list[int] = []
    with fresh(socket.SOCK_DGRAM, parse_endpoint(where), marked.append) as sock:
        assert sock.getsockopt(level, option) == 5  # IP_PMTUDISC_OMIT
        assert marked == [sock.fileno()]


def test_a_socket_that_cannot_be_marked_is_closed() -> None:
    seen: list[int] = []

    def refuse(fd: int) -> None:
        seen.append(fd)
        raise DatapathError("no such map")

    with pytest.raises(DatapathError):
        fresh(socket.SOCK_STREAM, parse_endpoint("127.0.0.1"), refuse)
    with pytest.raises(OSError):
        socket.socket(fileno=socket.dup(seen[0]))
