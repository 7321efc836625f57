"""The filters on our listeners: who asks over TCP, and that nobody floods over UDP.

A mark is set here with SO_MARK, by root, where no hook of ours overwrites it.
"""

from __future__ import annotations

import os
import socket

import pytest

from dnsfw.datapath.askers import Askers, netns_cookie_of, socket_cookie
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.own import netns_cookie
from dnsfw.model import NO_ROLE, Reason, RoleId
from dnsfw.server.clock import boot_now
from tests.support.netlab import Netns
from tests.support.wall import Wall

PATIENCE = 5.0
STEP, WHOLE = 1 << 22, 1 << 26  # nanoseconds: SHARE_STEP and SHARE_TIME of asker.bpf.h
WEB, WORKER = RoleId(16), RoleId(17)


def askers(loaded: Loaded) -> Askers:
    programs = loaded.programs
    return Askers(
        loaded.maps["dnsfw_askers"], programs["dnsfw_asker"], programs["dnsfw_share"],
        loaded.maps["dnsfw_allowance"],
    )


def marked(kind: int, mark: int, to: socket.socket) -> socket.socket:
    sock = socket.socket(to.family, kind)
    sock.settimeout(PATIENCE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    sock.connect(to.getsockname())
    return sock


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(wall: Wall, apart: Netns, request: pytest.FixtureRequest) -> socket.socket:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind((request.param, 0))
    sock.listen()
    request.addfinalizer(sock.close)
    return sock


@pytest.fixture
def queue(wall: Wall, apart: Netns, request: pytest.FixtureRequest) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.setblocking(False)
    request.addfinalizer(sock.close)
    return sock


def waiting(queue: socket.socket) -> dict[bytes, int]:
    """How many datagrams of each kind are in the queue."""
    found: dict[bytes, int] = {}
    while True:
        try:
            data = queue.recv(16)
        except BlockingIOError:
            return found
        found[data] = found.get(data, 0) + 1


def test_an_accepted_sockets_role_is_the_mark_of_its_data(
    loaded: Loaded, listener: socket.socket
) -> None:
    known = askers(loaded)
    known.watch(listener.fileno())
    roles = []
    for role in (WEB, WORKER, 0):
        with marked(socket.SOCK_STREAM, role, listener) as client:
            accepted, _ = listener.accept()
            with accepted:
                client.sendall(b"q")
                assert accepted.recv(1) == b"q"
                roles.append(known.role(socket_cookie(accepted.fileno())))

    assert roles == [WEB, WORKER, NO_ROLE]


def test_a_connection_that_changes_its_role_is_known_by_the_last_packet(
    loaded: Loaded, listener: socket.socket
) -> None:
    known = askers(loaded)
    known.watch(listener.fileno())
    with marked(socket.SOCK_STREAM, WEB, listener) as client:
        accepted, _ = listener.accept()
        with accepted:
            client.sendall(b"q")
            accepted.recv(1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, WORKER)
            client.sendall(b"q")
            accepted.recv(1)

            assert known.role(socket_cookie(accepted.fileno())) == WORKER


def test_a_cookie_that_nobody_has_is_nobodys(loaded: Loaded, wall: Wall) -> None:
    assert askers(loaded).role(1 << 60) == NO_ROLE


def test_row_103_one_role_cannot_fill_the_queue_in_which_all_wait(
    loaded: Loaded, wall: Wall, queue: socket.socket
) -> None:
    limits = askers(loaded)
    limits.allow(1)  # the least there is
    limits.share(queue.fileno(), True)
    with (
        marked(socket.SOCK_DGRAM, WEB, queue) as flood,
        marked(socket.SOCK_DGRAM, WORKER, queue) as calm,
    ):
        for _ in range(5000):
            flood.send(b"flood")
        for _ in range(10):
            calm.send(b"calm")

    got = waiting(queue)
    assert got[b"calm"] == 10
    assert got[b"flood"] < 2500
    dropped = wall.sink.counters()[Reason.ASKER_RATE].denied
    assert dropped == 5000 - got[b"flood"]


def test_row_103_the_share_is_what_the_daemon_can_answer(
    loaded: Loaded, wall: Wall, queue: socket.socket
) -> None:
    limits = askers(loaded)
    limits.allow(3000)
    limits.share(queue.fileno(), True)
    with marked(socket.SOCK_DGRAM, WEB, queue) as flood:
        for _ in range(2500):
            flood.send(b"flood")
    limits.allow(0)

    assert waiting(queue) == {b"flood": 2500}


def one_cpu(request: pytest.FixtureRequest) -> None:
    """Shares are counted on each CPU: whoever is moved has another one there."""
    cpus = os.sched_getaffinity(0)
    request.addfinalizer(lambda: os.sched_setaffinity(0, cpus))
    os.sched_setaffinity(0, {min(cpus)})


def test_row_103_a_share_grows_again_step_by_step_and_not_all_at_once(
    loaded: Loaded, wall: Wall, queue: socket.socket, request: pytest.FixtureRequest
) -> None:
    """All at once it would overflow the queue, and then leave the reader without work."""
    limits, share = askers(loaded), 3000
    one_cpu(request)
    limits.allow(share)
    limits.share(queue.fileno(), True)
    with marked(socket.SOCK_DGRAM, WEB, queue) as flood:
        began = boot_now()
        for _ in range(2 * share):
            flood.send(b"flood")
        first = waiting(queue)[b"flood"]
        paused = boot_now()
        while boot_now() < paused + 2 * STEP:
            pass
        for _ in range(share):
            flood.send(b"flood")
        took = boot_now() - began

    again = waiting(queue)[b"flood"]
    assert again >= share * STEP // WHOLE
    assert first + again <= share + share * (took + STEP) // WHOLE


def test_without_a_backlog_there_is_no_limit(
    loaded: Loaded, wall: Wall, queue: socket.socket
) -> None:
    limits = askers(loaded)
    limits.share(queue.fileno(), True)
    limits.share(queue.fileno(), False)
    limits.share(queue.fileno(), False)  # there is none any more
    with marked(socket.SOCK_DGRAM, WEB, queue) as flood:
        for _ in range(2000):
            flood.send(b"flood")

    assert waiting(queue) == {b"flood": 2000}


def test_a_sockets_namespace_is_the_one_it_was_made_in(wall: Wall, apart: Netns) -> None:
    with socket.socket() as sock:
        assert netns_cookie_of(sock.fileno()) == netns_cookie()
