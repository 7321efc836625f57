"""Marks go into the socket itself. (Through real hooks: netns/.)"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from dnsfw.datapath import abi, own
from dnsfw.datapath.memory import MemoryMap
from dnsfw.model import PROBE


def test_a_socket_is_marked_by_its_descriptor() -> None:
    table = MemoryMap(8)

    with socket.socket() as sock:
        own.OwnSockets({"dnsfw_own": table}).mark(sock)  # type: ignore[dict-item]
        own.OwnSockets({"dnsfw_own": table}).mark(sock.fileno())  # type: ignore[dict-item]

        assert list(table.data.items()) == [(struct.pack("i", sock.fileno()), struct.pack("I", 1))]


def test_a_role_is_written_with_its_process() -> None:
    table = MemoryMap(8)

    with socket.socket() as sock:
        own.assign_role(table, sock, PROBE, 42, 7)  # type: ignore[arg-type]

    (value,) = table.data.values()
    assert abi.Sock.unpack(value)[:2] == (PROBE, 42)
    assert abi.Sock.unpack(value).netns == 7


def test_the_namespace_has_a_number() -> None:
    assert own.netns_cookie() >= 0


def test_where_no_wall_is_pinned_nothing_is_marked(tmp_path: Path) -> None:
    assert own.own_of(tmp_path) is None
