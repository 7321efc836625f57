"""Who asked: of sockets on this host the user and the cgroup, else the address."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace

from dnsfw.datapath.sockowner import SocketOwners
from dnsfw.engine.effects import Client, Transport
from dnsfw.model import HOST, SECOND, Nanos
from dnsfw.server.address import parse_endpoint
from dnsfw.server.who_asks import NOBODY, CgroupPaths, Who, WhoAsks, who_text


class Clock:
    now = Nanos(100 * SECOND)

    def __call__(self) -> Nanos:
        return self.now


class Counting(SocketOwners):
    looked = 0

    def find(self, *args: object) -> None:  # type: ignore[override]
        self.looked += 1


def client(peer: tuple[str, int], server: str) -> Client:
    listener = SimpleNamespace(endpoint=parse_endpoint(server))
    route = Route(peer, listener)
    return Client(route, HOST, Transport.UDP, peer[0])


class Route:
    def __init__(self, peer: tuple[str, int], listener: object) -> None:
        self.peer = peer
        self.listener = listener


def test_a_socket_of_this_host_has_a_user() -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as sender,
    ):
        server.bind(("127.0.0.1", 0))
        sender.connect(server.getsockname())
        asks = WhoAsks(SocketOwners(), Clock())
        one = client(sender.getsockname(), f"127.0.0.1:{server.getsockname()[1]}")
        asks.asked(one)

    found = asks.who(one)  # the sender is gone: it was looked at while it waited

    assert (found.address, found.transport, found.user) == ("127.0.0.1", "udp", os.getuid())


def test_of_another_host_the_address_is_known() -> None:
    asks = WhoAsks(SocketOwners(), Clock())
    one = client(("192.0.2.9", 4000), "127.0.0.1:53")
    asks.asked(one)

    assert asks.who(one) == Who("192.0.2.9", "udp")
    assert asks.who(client(("192.0.2.8", 1), "127.0.0.1:53")) == Who("192.0.2.8", "udp")
    assert asks.who(None) is NOBODY


def test_who_had_gone_when_he_was_looked_for_is_said_to_have(tmp_path: Path) -> None:
    paths, *_ = cgroups(tmp_path)
    asks = WhoAsks(Counting(), Clock())
    here = client(("127.0.0.1", 4000), "127.0.0.1:53")
    there = client(("192.0.2.9", 4000), "192.0.2.1:53")
    asks.asked(here)
    asks.asked(there)
    told = asks.at("127.0.0.1", 4000, [("127.0.0.1", 53)])

    assert who_text(asks.who(here), paths) == "127.0.0.1 by udp, its program was gone by then"
    assert who_text(told, paths) == "127.0.0.1 by udp, its program was gone by then"
    assert who_text(asks.who(there), paths) == "192.0.2.9 by udp"
    unlooked = asks.who(client(("127.0.0.1", 9), "127.0.0.1:53"))
    assert who_text(unlooked, paths) == "127.0.0.1 by udp"


def test_a_flood_is_not_looked_up() -> None:
    owners = Counting()
    asks = WhoAsks(owners, Clock())
    for port in range(5000):
        asks.asked(client(("127.0.0.1", port), "127.0.0.1:53"))

    assert owners.looked == 200
    assert len(asks._asked) == 200


def cgroups(tmp_path: Path) -> tuple[CgroupPaths, int, Path]:
    below = tmp_path / "system.slice" / "x.service"
    below.mkdir(parents=True)
    return CgroupPaths(Clock(), tmp_path, tmp_path / "proc"), below.stat().st_ino, below


def test_a_cgroup_has_a_path_and_one_that_is_gone_has_none(tmp_path: Path) -> None:
    paths, number, _ = cgroups(tmp_path)

    assert paths.path(number) == "/system.slice/x.service"
    assert paths.path(0) == "" == paths.path(999_999_999)


def test_of_many_processes_it_is_the_one_that_holds_the_socket(tmp_path: Path) -> None:
    paths, number, below = cgroups(tmp_path)
    (below / "cgroup.procs").write_text("7\n8\n")
    for pid, inode in ((7, 70), (8, 80)):
        (tmp_path / "proc" / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / "proc" / str(pid) / "fd" / "3").symlink_to(f"socket:[{inode}]")
        (tmp_path / "proc" / str(pid) / "comm").write_text(f"p{pid}\n")

    assert paths.process(number, 70) == (7, "p7")
    assert paths.process(number, 99) == (0, "")
    who = Who("127.0.0.1", "udp", 1000, number, 80)
    assert who_text(who, paths) == "127.0.0.1 by udp, uid 1000, /system.slice/x.service, p8[8]"


def test_a_connection_has_its_process_and_no_address(tmp_path: Path) -> None:
    paths, _, _ = cgroups(tmp_path)

    assert who_text(Who(pid=7, command="curl"), paths) == "curl[7]"
    assert who_text(NOBODY, paths) == ""
    assert who_text(Who("::1", "tcp"), paths, lambda text: "h:1") == "h:1 by tcp"
