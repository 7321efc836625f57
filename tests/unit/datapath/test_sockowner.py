"""dnsfw.datapath.sockowner: sockets of this very process, on loopback."""

from __future__ import annotations

import os
import socket

import pytest

from dnsfw.datapath.sockowner import SocketOwners

UDP, TCP = socket.IPPROTO_UDP, socket.IPPROTO_TCP


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("connected", [True, False])
def test_the_socket_that_sent_a_datagram_is_found(host: str, connected: bool) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_DGRAM) as server,
        socket.socket(family, socket.SOCK_DGRAM) as client,
    ):
        server.bind((host, 0))
        if connected:
            client.connect(server.getsockname()[:2])
            client.send(b"x")
        else:
            client.sendto(b"x", server.getsockname()[:2])
        _, peer = server.recvfrom(10)
        owners = SocketOwners()

        found = owners.find(UDP, peer[:2], server.getsockname()[:2])
        owners.close()

        assert found is not None
        assert (found.user, found.inode) == (os.getuid(), os.fstat(client.fileno()).st_ino)


def test_the_socket_of_a_connection_is_found() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        found = SocketOwners().find(TCP, client.getsockname(), server.getsockname())

        assert found is not None
        assert found.inode == os.fstat(client.fileno()).st_ino


@pytest.mark.parametrize("client", ["192.0.2.1", "2001:db8::1", "nonsense"])
def test_nobody_of_another_host_is_known(client: str) -> None:
    assert SocketOwners().find(UDP, (client, 4000), ("127.0.0.1", 53)) is None
