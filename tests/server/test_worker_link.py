"""The daemon's end of a worker: a real process."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from dnsfw.errors import DatapathError
from dnsfw.server import worker_link
from dnsfw.server.address import Endpoint
from dnsfw.server.udp import UdpListener
from dnsfw.server.udp_socket import waiting
from dnsfw.server.worker_link import Link, command
from dnsfw.server.worker_memory import Epoch
from dnsfw.server.worker_words import FORGET, QUERIES, READY, read_queries

PATIENCE = 20_000  # milliseconds, many times what a busy machine takes


def said(link: Link) -> bytes:
    """Its next message."""
    poll = select.poll()
    poll.register(link.socket, select.POLLIN)
    assert poll.poll(PATIENCE)
    message = link.receive()
    assert message is not None
    return message


def status(link: Link, field: str) -> str:
    lines = Path(f"/proc/{link.pid}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(f"{field}:"))


@pytest.fixture
def listener() -> Iterator[UdpListener]:
    one = UdpListener(Endpoint(ip_address("127.0.0.1"), 0))
    yield one
    one.close()


@pytest.fixture
def epoch() -> Iterator[Epoch]:
    one = Epoch()
    yield one
    one.close()


@pytest.fixture
def link(listener: UdpListener, epoch: Epoch) -> Iterator[Link]:
    one = Link([listener], epoch, marks=False)
    yield one
    one.close()


def test_it_is_ready_and_hands_on_what_comes_to_its_socket(
    link: Link, listener: UdpListener
) -> None:
    assert said(link) == READY
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", listener.socket.getsockname())

        message = said(link)

    assert message[:1] == QUERIES
    assert [handed.wire for handed in read_queries(message)] == [b"hello"]
    assert link.page.passed(30) and link.page.handed_on == 1


def test_while_the_daemon_has_no_time_queries_wait_in_the_socket_and_none_is_lost(
    link: Link, listener: UdpListener
) -> None:
    assert said(link) == READY
    sent, reads = 0, True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(listener.socket.getsockname())
        while reads:
            for _ in range(20):
                client.send(sent.to_bytes(4, "big") + bytes(1000))
                sent += 1
            until = time.monotonic() + 0.3
            while (reads := waiting(listener.socket) > 0) and time.monotonic() < until:
                time.sleep(0.001)
            reads = not reads
            assert sent < 50_000

    heard = []
    while len(heard) < sent:
        message = said(link)
        if message[:1] == QUERIES:
            heard += [int.from_bytes(one.wire[:4], "big") for one in read_queries(message)]

    assert heard == list(range(sent))


def test_it_has_no_rights_and_nothing_of_ours(link: Link, listener: UdpListener) -> None:
    said(link)

    for field in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert int(status(link, field), 16) == 0, field
    assert status(link, "NoNewPrivs") == "1"
    assert status(link, "Name") == "dnsfw-worker"
    assert status(link, "Seccomp") == "2"  # and what it may call is in test_cell
    held = {str(file.readlink()) for file in Path(f"/proc/{link.pid}/fd").iterdir()}
    kinds = sorted(what.split(":")[0].split(" ")[0] for what in held)
    mine = str(Path(f"/proc/self/fd/{listener.socket.fileno()}").readlink())
    assert mine in held
    assert sum(what.startswith("socket:") for what in held) == 2, held  # and the channel
    assert [k for k in kinds if k.startswith("/memfd")] == ["/memfd", "/memfd"], held


def test_it_ends_with_its_channel(link: Link) -> None:
    said(link)
    link.socket.shutdown(socket.SHUT_RDWR)

    assert link.process.wait(PATIENCE) == 0


def test_signals_that_are_meant_for_the_daemon_do_not_end_it(
    link: Link, listener: UdpListener
) -> None:
    """Ctrl-C goes to all processes of a terminal, systemd's SIGTERM to all of a unit."""
    assert said(link) == READY
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(link.pid, one)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", listener.socket.getsockname())

        assert said(link)[:1] == QUERIES


def test_it_ends_with_its_daemon_however_that_ends(listener: UdpListener) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        link = Link([listener], Epoch(), marks=False)
        said(link)
        os.write(writer, f"{link.pid}\n".encode())
        time.sleep(PATIENCE)
    worker = int(os.read(reader, 100))
    watched = os.pidfd_open(worker)
    poll = select.poll()
    poll.register(watched, select.POLLIN)

    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

    assert poll.poll(PATIENCE)
    os.close(watched)


def test_what_it_said_before_it_died_is_heard(link: Link, listener: UdpListener) -> None:
    said(link)
    link.send(FORGET)  # something unread, which the kernel tells us of as an error
    link.process.send_signal(signal.SIGSTOP)
    link.send(FORGET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", listener.socket.getsockname())
    assert link.kill()

    rest = []
    while message := link.receive():
        rest.append(message[:1])

    assert link.receive() == b""
    assert set(rest) <= {QUERIES}
    assert link.ended() == "signal 9"


def test_one_that_hangs_is_gone_when_kill_returns(link: Link) -> None:
    said(link)
    os.kill(link.pid, signal.SIGSTOP)

    assert link.kill()
    assert not Path(f"/proc/{link.pid}/fd").exists() or link.process.returncode == -9


def test_to_speak_to_the_dead_or_the_deaf_is_no_error(link: Link) -> None:
    said(link)
    os.kill(link.pid, signal.SIGSTOP)
    for _ in range(10_000):
        link.send(bytes(1000))
    link.kill()

    link.send(b"x")


def test_where_no_process_can_be_started_that_is_said(
    listener: UdpListener, epoch: Epoch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(worker_link.subprocess, "Popen", full)

    with pytest.raises(DatapathError, match="no process can be started"):
        Link([listener], epoch, marks=False)


def test_it_is_small(link: Link) -> None:
    """Some ten megabytes of its own; asyncio and the policy alone would be as much again."""
    said(link)
    text = Path(f"/proc/{link.pid}/smaps_rollup").read_text().splitlines()
    kept = sum(int(line.split()[1]) for line in text if line.startswith("Private_"))

    assert kept < 16 * 1024


def test_its_command_takes_nothing_from_the_working_directory() -> None:
    argv, environment = command()
    done = subprocess.run(
        [*argv[:3], "-c", "import sys, dnsfw; print('' in sys.path, dnsfw.__file__)"],
        env=environment, capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip

    assert done.stdout.split()[0] == "False"
