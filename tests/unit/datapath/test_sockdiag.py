"""dnsfw.datapath.sockdiag: connections older than the wall, on loopback sockets of this test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.datapath.sockdiag import Connection, cgroup_ids, connections, destroy, split
from dnsfw.model import addr_from


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket, str]]:
    host: str = request.param
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind((host, 0))
        server.listen()
        with socket.create_connection(server.getsockname()[:2]) as client:
            accepted, _ = server.accept()
            with accepted:
                yield client, accepted, host


def _find(found: list[Connection], sock: socket.socket) -> list[Connection]:
    port = sock.getsockname()[1]
    peer = sock.getpeername()[1]
    return [c for c in found if (c.local_port, c.remote_port) == (port, peer)]


def test_both_ends_are_listed_with_their_addresses(
    pair: tuple[socket.socket, socket.socket, str],
) -> None:
    client, accepted, host = pair

    found = connections()

    for end in (client, accepted):
        (row,) = _find(found, end)
        assert (row.local, row.remote) == (addr_from(host), addr_from(host))


def test_what_a_listener_accepted_is_told_from_what_went_out(
    pair: tuple[socket.socket, socket.socket, str],
) -> None:
    client, accepted, _ = pair

    inbound, outgoing = split(connections())

    assert _find(inbound, accepted) and not _find(outgoing, accepted)
    assert _find(outgoing, client) and not _find(inbound, client)


@pytest.mark.needs_root
def test_a_destroyed_connection_fails_at_once_for_its_owner(
    pair: tuple[socket.socket, socket.socket, str],
) -> None:
    client, _, _ = pair
    (row,) = _find(connections(), client)

    destroy(row)

    client.settimeout(5)
    with pytest.raises(ConnectionAbortedError):
        client.recv(1)
    destroy(row)  # gone already: nothing to say


def test_the_ids_of_a_tree_are_the_inodes_of_its_folders(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)

    ids = cgroup_ids(tmp_path)

    assert ids == {(tmp_path / p).stat().st_ino for p in ("", "a", "a/b")}
