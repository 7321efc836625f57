"""Who asked, from the socket that the query came from."""

from __future__ import annotations

import os
import socket
from typing import Any

from dnsfw.engine.effects import Client, Transport
from dnsfw.model import HOST, SECOND, Nanos
from dnsfw.server.observed import Asker
from dnsfw.server.run_askers import RunAskers
from dnsfw.server.udp import UdpRoute


class Desk:
    def __init__(self) -> None:
        self.now = 0
        self.heard: list[Asker | None] = []
        self.askers = RunAskers(self._query, lambda: [os.getpid()], lambda: Nanos(self.now))

    def _query(self, wire: bytes, client: Client) -> None:
        self.heard.append(self.askers.asker)

    def ask(self, question: bytes, peer: Any) -> Asker | None:
        route = UdpRoute(None, peer, None)  # type: ignore[arg-type]
        self.askers.query(bytes(12) + question, Client(route, HOST, Transport.UDP))
        return self.heard[-1]


def test_the_process_behind_a_socket_is_named() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        asker = Desk().ask(b"\x01a\x00", sock.getsockname())

    assert asker is not None
    assert asker.pid == os.getpid()
    assert asker.command


def test_only_the_first_query_for_a_name_is_looked_at() -> None:
    desk = Desk()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        assert desk.ask(b"\x01a\x00", sock.getsockname()) is not None
        assert desk.ask(b"\x01A\x00", sock.getsockname()) is None
    assert desk.askers.asker is None


def test_a_flood_of_names_is_not_looked_into() -> None:
    desk = Desk()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        found = [desk.ask(f"{n}".encode(), sock.getsockname()) for n in range(150)]
        desk.now = 2 * SECOND
        later = desk.ask(b"later", sock.getsockname())

    assert sum(asker is not None for asker in found) == 100
    assert later is not None


def test_a_socket_that_nobody_of_the_tree_holds_is_nobodys() -> None:
    assert Desk().ask(b"\x01a\x00", ("127.0.0.1", 1)) is None
