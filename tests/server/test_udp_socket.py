"""Sockets that queries come to: one an address, or a group that nobody else gets into."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import pytest

from dnsfw.errors import ConfigError
from dnsfw.server import udp_socket
from dnsfw.server.address import Endpoint
from dnsfw.server.udp_socket import (
    ANCILLARY,
    open_group,
    open_socket,
    read_control,
    source_of,
    waiting,
)

SOMEWHERE = [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("0.0.0.0", "127.9.9.9"), ("::", "::1")]


@contextlib.contextmanager
def group(address: str = "127.0.0.1", count: int = 3) -> Iterator[list[socket.socket]]:
    made = open_group(Endpoint(ip_address(address), 0), count)
    try:
        yield made
    finally:
        for sock in made:
            sock.close()


def sent(to: socket.socket, count: int, address: str = "") -> None:
    """So many datagrams, each from a socket of its own."""
    host, port, *_ = to.getsockname()
    for _ in range(count):
        with socket.socket(to.family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"q", (address or host, port))


def arrived(sockets: Sequence[socket.socket]) -> list[int]:
    found = [0] * len(sockets)
    for number, sock in enumerate(sockets):
        with contextlib.suppress(BlockingIOError):
            while sock.recv(16, socket.MSG_DONTWAIT):
                found[number] += 1
    return found


@pytest.mark.parametrize(("address", "asked"), SOMEWHERE)
def test_a_group_divides_its_clients_among_all_of_it(address: str, asked: str) -> None:
    with group(address) as socks:
        sent(socks[0], 300, asked)

        found = arrived(socks)

    assert sum(found) == 300
    assert min(found) > 50, found


def test_all_of_one_client_comes_to_one_of_them() -> None:
    with group() as socks, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for _ in range(50):
            client.sendto(b"q", socks[0].getsockname())

        assert sorted(arrived(socks)) == [0, 0, 50]


def test_whoever_is_closed_elsewhere_and_open_here_still_gets_its_part() -> None:
    """A worker that dies: the daemon has the socket too."""
    with group() as socks:
        theirs = socks[1].dup()
        theirs.close()
        sent(socks[0], 100)

        assert arrived(socks)[1] > 0


def test_one_alone_is_no_group() -> None:
    with group(count=1) as socks:
        assert len(socks) == 1
        assert not socks[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


@pytest.mark.parametrize(
    "option", [None, socket.SO_REUSEADDR, socket.SO_REUSEPORT], ids=["plain", "addr", "port"]
)
def test_row_83_a_taken_port_is_an_error_for_a_group_even_where_the_other_would_share(
    option: int | None,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        if option is not None:
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        other.bind(("127.0.0.1", 0))
        endpoint = Endpoint(ip_address("127.0.0.1"), other.getsockname()[1])

        with pytest.raises(ConfigError, match="ss -lnp"):
            open_group(endpoint, 2)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_row_83_who_slips_in_while_a_group_is_made_is_found(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of our own user: the kernel lets nobody else share."""
    real, foreign = udp_socket.open_socket, []

    def between(endpoint: Endpoint, *, shared: bool = False, **_: object) -> socket.socket:
        if not shared:  # the first, which finds the port free
            return real(endpoint)
        other = socket.socket(endpoint.family, socket.SOCK_DGRAM)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(endpoint.sockaddr)
        foreign.append(other)
        return real(endpoint, shared=True)

    monkeypatch.setattr(udp_socket, "open_socket", between)

    with pytest.raises(ConfigError, match="another program of this user"):
        open_group(Endpoint(ip_address(address), 0), 2)
    for other in foreign:
        other.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_row_83_who_joins_a_group_later_is_given_nothing(address: str) -> None:
    with group(address) as socks, socket.socket(socks[0].family, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(socks[0].getsockname())  # of our own user
        sent(socks[0], 300)

        found = arrived(socks)
        assert arrived([other]) == [0]

    assert sum(found) == 300
    assert min(found) > 50, found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_row_83_another_user_cannot_join_a_group() -> None:
    with group() as socks:
        code = (
            "import os, socket, sys\n"
            "os.setuid(65534)\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
            "s.bind(('127.0.0.1', int(sys.argv[1])))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(socks[0].getsockname()[1])],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert "Address already in use" in done.stderr


def test_row_83_a_group_that_cannot_be_seen_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*_: object) -> str:
        raise FileNotFoundError(2, "No such file")

    monkeypatch.setattr("pathlib.Path.read_text", gone)

    with pytest.raises(ConfigError, match=r"mount /proc, or dns\.workers: 1"):
        open_group(Endpoint(ip_address("127.0.0.1"), 0), 2)


def test_row_83_each_of_a_group_is_marked_before_it_is_bound() -> None:
    """The wall of an earlier process lets nobody else have our port."""
    bound: list[int] = []

    def own(fd: int) -> None:
        bound.append(socket.socket(fileno=os.dup(fd)).getsockname()[1])

    group = open_group(Endpoint(ip_address("127.0.0.1"), 0), 3, own)
    for one in group:
        one.close()

    assert bound == [0, 0, 0]


def test_no_socket_is_left_of_a_group_that_could_not_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[socket.socket] = []
    real = udp_socket.open_socket

    def noted(*args: object, **named: object) -> socket.socket:
        made.append(real(*args, **named))  # type: ignore[arg-type]
        return made[-1]

    def refuse(*_: object) -> None:
        raise ConfigError("no")

    monkeypatch.setattr(udp_socket, "open_socket", noted)
    monkeypatch.setattr(udp_socket, "_divide", refuse)
    with pytest.raises(ConfigError):
        open_group(Endpoint(ip_address("127.0.0.1"), 0), 2)

    assert [sock.fileno() for sock in made] == [-1, -1]


@pytest.mark.parametrize(("address", "asked"), SOMEWHERE[2:])
def test_the_address_that_was_asked_is_the_same_from_its_octets(address: str, asked: str) -> None:
    with group(address, 1) as socks:
        sent(socks[0], 1, asked)
        _, control, _, _ = socks[0].recvmsg(16, ANCILLARY)

    _, source = read_control(control)
    assert source is not None
    assert source_of(socks[0].family, source[2].ljust(20, b"\0")) == source


def test_a_queue_is_as_long_as_what_waits_in_it() -> None:
    with group(count=1) as socks:
        empty = waiting(socks[0])
        sent(socks[0], 10)

        assert empty == 0 < waiting(socks[0])


def test_of_two_v6_and_v4_listeners_none_takes_the_others() -> None:
    one = open_socket(Endpoint(ip_address("::"), 0))
    port = one.getsockname()[1]
    with one, open_socket(Endpoint(ip_address("0.0.0.0"), port)) as two:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"q", ("127.0.0.1", port))

        assert arrived([one, two]) == [0, 1]


def test_the_parts_of_a_group_are_about_equal() -> None:
    """Clients with neighbouring ports of many addresses, as a LAN's are."""
    with group(count=2) as socks:
        port = socks[0].getsockname()[1]
        for number in range(1, 201):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.bind((f"127.0.1.{number}", 0))
                client.sendto(b"q", ("127.0.0.1", port))

        found = Counter(dict(enumerate(arrived(socks))))
    assert min(found.values()) > 50, found
