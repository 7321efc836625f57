"""Attacks on what is kept in a socket: none of them takes an old permission somewhere else.

Each primes a conversation that is allowed, so that its verdict is kept, and tries at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
from collections.abc import Iterator

import pytest

from dnsfw.datapath import abi
from dnsfw.model import RolePlan
from tests.kernel.test_kept import Stage, as_role, peer, sock, stage
from tests.support.site import PEER4, PEER6, SHUT4, SHUT6
from tests.support.wall import DENY, WEB

__all__ = ["peer", "sock", "stage"]
pytestmark = [pytest.mark.needs_netns, pytest.mark.needs_cgroup]

TIMES = 5
AF_UNSPEC = bytes(16)
IP_OPTIONS = 4
LSRR = 131
MSG_FASTOPEN = 0x20000000
SO_MARK = 36
EVERY_BIT = (0xFFFFFFFF).to_bytes(4, "little")


def disconnect(sock: socket.socket) -> None:
    """connect(2) with AF_UNSPEC, which the socket module has no word for."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.connect(sock.fileno(), AF_UNSPEC, len(AF_UNSPEC)) == 0, ctypes.get_errno()


@pytest.fixture
def server(stage: Stage) -> Iterator[socket.socket]:
    with stage.site.outside.socket(socket.AF_INET6, socket.SOCK_STREAM) as made:
        made.bind(("::", 5000))
        made.listen(64)
        yield made


def test_row_08_a_socket_that_let_go_and_connects_elsewhere_takes_nothing_along(
    stage: Stage, sock: socket.socket
) -> None:
    for _ in range(TIMES):
        sock.connect((PEER4, 5000))
        stage.prime(sock)
        disconnect(sock)
        assert not stage.passes(sock, (SHUT4, 5000))
        assert not stage.passes(sock, (PEER4, 5001))


def test_row_08_nor_does_a_connection(stage: Stage, server: socket.socket) -> None:
    """The same socket, from the same port, in the moment after the first one was let go."""
    for attempt in range(TIMES):
        stage.open()
        with stage.socket(kind=socket.SOCK_STREAM) as sock:
            sock.bind(("", 41000 + attempt))
            sock.connect((PEER4, 5000))
            sock.send(b"some words")
            disconnect(sock)  # the port stays
            sock.setblocking(False)
            said = stage.judged(lambda sock=sock: sock.connect_ex((SHUT4, 5000)))
            assert any(denied for _, denied in said.values()), said


def test_row_09_data_in_a_first_packet_goes_nowhere_else(
    stage: Stage, server: socket.socket
) -> None:
    stage.site.guarded.sysctl("net.ipv4.tcp_fastopen", 0x5)  # without a cookie, too
    for _ in range(TIMES):
        stage.open()
        with stage.socket(kind=socket.SOCK_STREAM) as sock:
            sock.connect((PEER4, 5000))
            sock.send(b"some words")
            disconnect(sock)
            sock.setblocking(False)

            def send(sock: socket.socket = sock) -> None:
                with contextlib.suppress(BlockingIOError):
                    sock.sendto(b"needle", MSG_FASTOPEN, (SHUT4, 5000))

            said = stage.judged(send)
            assert any(denied for _, denied in said.values()), said


def test_row_03_the_mapped_form_of_another_address_is_another_address(
    stage: Stage, peer: socket.socket
) -> None:
    with stage.socket(socket.AF_INET6) as sock:
        for _ in range(TIMES):
            stage.open((f"::ffff:{PEER4}", 5000))
            stage.prime(sock, (f"::ffff:{PEER4}", 5000))
            stage.prime(sock, (PEER6, 5000))
            assert not stage.passes(sock, (f"::ffff:{SHUT4}", 5000))
            assert not stage.passes(sock, (SHUT6, 5000))


def test_row_24_a_source_route_is_seen_in_the_midst_of_a_conversation(
    stage: Stage, sock: socket.socket
) -> None:
    """The address in the header is the allowed one; the last one is in the option."""
    route = bytes([LSRR, 7, 4]) + socket.inet_aton(SHUT4) + b"\0"
    sock.connect((PEER4, 5000))
    for _ in range(TIMES):
        sock.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, b"")
        stage.prime(sock)
        try:
            sock.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, route)
        except OSError as error:
            assert error.errno in (errno.EPERM, errno.EINVAL)
            return
        assert not stage.passes(sock)


def test_row_61_no_mark_of_ones_own_says_anything(stage: Stage, peer: socket.socket) -> None:
    """All of its bits: those of dnsfw, too."""
    stage.open()
    with stage.socket() as sock:
        stage.prime(sock, (PEER4, 5000))
        sock.setsockopt(socket.SOL_SOCKET, SO_MARK, EVERY_BIT)
        assert not stage.passes(sock, (SHUT4, 5000))
        assert stage.passes(sock, (PEER4, 5000))


# a device alone knows no named role of a socket
@pytest.mark.parametrize("stage", ["cgroup", "both"], indirect=True)
def test_row_39_a_socket_of_another_role_at_the_same_port_has_no_part_in_it(
    stage: Stage, peer: socket.socket
) -> None:
    """SO_REUSEPORT: same addresses, same ports; a row of flows is of the role that began it."""
    stage.site.wall.policy(others=[RolePlan(WEB, DENY)])
    stage.open()
    with stage.socket() as mine, stage.socket() as other:
        for sock in (mine, other):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("", 42000))
        as_role(stage, mine, abi.RoleId.HOST)
        as_role(stage, other, WEB)
        for _ in range(TIMES):
            stage.prime(mine, (PEER4, 5000))
            assert not stage.passes(other, (PEER4, 5000))
