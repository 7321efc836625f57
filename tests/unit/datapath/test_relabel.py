"""Another role for sockets that exist; the whole of it is in server/test_helper.py."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.process import Process
from dnsfw.datapath.relabel import HeldSocket, record_of, relabel, share_counts
from dnsfw.model import RoleId

WEB = RoleId(20)


class Records:
    """A table of sockets that remembers what was written."""

    def __init__(self, before: bytes | None = None) -> None:
        self.before = before
        self.written: list[abi.Sock] = []

    def lookup(self, key: bytes) -> bytes | None:
        return self.before

    def update(self, key: bytes, value: bytes) -> None:
        self.written.append(abi.Sock.unpack(value))


def test_a_record_keeps_all_but_the_role() -> None:
    before = abi.Sock(1, 77, b"maker".ljust(16, b"\0"), 5)
    with socket.socket() as sock, Process(os.getpid()) as us:
        made = record_of(us, sock, WEB, before.pack())

    assert made == before._replace(role=WEB)


def test_a_record_without_a_role_is_none() -> None:
    """A device's hook made it, to keep something there: who made the socket it does not say."""
    nobody = abi.Sock(abi.RoleId.NONE, 0, bytes(16), 0)
    with socket.socket() as sock, Process(os.getpid()) as us:
        made = record_of(us, sock, WEB, nobody.pack())

        assert (made.role, made.pid) == (WEB, os.getpid())
        assert made.netns


def test_what_the_hooks_keep_of_the_old_role_goes() -> None:
    before = abi.Sock(1, 77, b"maker".ljust(16, b"\0"), 5)
    raw = before.pack()[:32] + bytes(range(abi.Sock.SIZE - 32))
    with socket.socket() as sock, Process(os.getpid()) as us:
        made = record_of(us, sock, WEB, raw)

    assert made.pack() == before._replace(role=WEB).pack()
    assert made.pack()[32:] == bytes(abi.Sock.SIZE - 32)


def test_a_socket_without_a_record_gets_one() -> None:
    with socket.socket() as sock, Process(os.getpid()) as us:
        made = record_of(us, sock, WEB, None)

        assert (made.role, made.pid) == (WEB, os.getpid())
        assert made.comm.rstrip(b"\0").decode() == us.name[:15]
        assert made.netns


def test_every_socket_that_sends_packets_is_relabelled_and_no_other() -> None:
    records = Records()
    ours, theirs = socket.socketpair()
    with ours, theirs, Process(os.getpid()) as us:
        before = {s.cookie for s in relabel(us, records, WEB)}  # type: ignore[arg-type]
        records.written.clear()
        with socket.socket(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM):
            held = relabel(us, records, WEB)  # type: ignore[arg-type]

    assert len(held) == len(before) + 2
    assert {record.role for record in records.written} == {WEB}


def test_whoever_holds_very_many_sockets_does_not_hold_the_helper_up() -> None:
    """A request that takes longer than its patience would cost the daemon its helper."""
    records = Records()
    with socket.socket(), Process(os.getpid()) as us:
        assert relabel(us, records, WEB, until=time.monotonic() - 1) == ()  # type: ignore[arg-type]

    assert records.written == []


@pytest.mark.parametrize(("listening", "outgoing"), [(True, False), (False, True)])
def test_what_a_listener_accepted_is_not_outgoing(listening: bool, outgoing: bool) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as accepted,
        Process(os.getpid()) as us,
    ):
        port = server.getsockname()[1]
        held = {h.fd: h for h in relabel(us, Records(), WEB, [port] if listening else [])}  # type: ignore[arg-type]

        assert held[client.fileno()].outgoing
        assert held[accepted.fileno()].outgoing is outgoing
        assert held[client.fileno()].remote == "127.0.0.1"
        assert not held[server.fileno()].remote


def test_ipv4_through_an_ipv6_socket_is_shown_as_ipv4() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET6) as client,
        Process(os.getpid()) as us,
    ):
        client.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
        held = {h.fd: h for h in relabel(us, Records(), WEB)}  # type: ignore[arg-type]

        assert held[client.fileno()].remote == "127.0.0.1"


def test_who_else_holds_a_socket(tmp_path: Path) -> None:
    for pid, links in {10: ["socket:[1]", "socket:[2]"], 11: ["socket:[2]"], 12: []}.items():
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        for number, link in enumerate(links):
            (tmp_path / str(pid) / "fd" / str(number)).symlink_to(link)
    (tmp_path / "net").mkdir()
    held = (HeldSocket(10, 0, 100, 6), HeldSocket(10, 1, 200, 6))

    assert [h.shared for h in share_counts(held, [10], tmp_path)] == [False, True]
    assert [h.shared for h in share_counts(held, [10, 11], tmp_path)] == [False, False]
