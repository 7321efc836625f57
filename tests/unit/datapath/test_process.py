"""A process by its pidfd: what is read of it counts only while it lives."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from dnsfw.datapath.process import Gone, Process, inhabited, netns_here


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def test_what_it_is(child: subprocess.Popen[bytes]) -> None:
    with Process(child.pid) as process:
        assert process.lives and process.parent() == os.getpid()
        assert process.cgroup().startswith("/") and not process.is_kernel_thread


def test_no_such_process() -> None:
    for pid in (0, -1, 1 << 22, 1 << 40):
        with pytest.raises(Gone, match="there is no process"):
            Process(pid)


def test_the_number_of_a_thread_is_no_process() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        with pytest.raises(Gone):
            Process(thread.native_id)
    finally:
        over.set()
        thread.join()


def test_nothing_read_of_an_ended_one_counts(child: subprocess.Popen[bytes]) -> None:
    with Process(child.pid) as process:
        end(child)

        assert not process.lives
        for read in (process.check, process.cgroup, process.parent, lambda: process.name):
            with pytest.raises(Gone):
                read()
        assert list(process.sockets()) == []


def test_a_command_may_be_called_anything(tmp_path: pytest.TempPathFactory) -> None:
    with subprocess.Popen(
        ["python3", "-c", "open('/proc/self/comm', 'w').write(') R 7 (x'); print(); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as odd:  # fmt: skip
        assert odd.stdout is not None
        odd.stdout.readline()
        with Process(odd.pid) as process:
            assert (process.name, process.parent()) == (") R 7 (x", os.getpid())
        odd.kill()


def test_its_sockets_and_a_copy_of_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock, Process(os.getpid()) as us:
        assert sock.fileno() in set(us.sockets())
        with socket.socket(fileno=us.descriptor(sock.fileno())) as copy:
            assert copy.getsockname() == sock.getsockname()
            assert not copy.get_inheritable()


def test_a_descriptor_that_it_has_not(child: subprocess.Popen[bytes]) -> None:
    with Process(child.pid) as process, pytest.raises(OSError):
        process.descriptor(77)


@pytest.mark.needs_netns
def test_what_is_made_in_its_network_stays_there() -> None:
    home = netns_here()
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        other.stdout.readline()
        with Process(other.pid) as process:
            with process.network():
                there = netns_here()
                sock = socket.socket()
            with sock:
                assert netns_here() == home != there
                with pytest.raises(OSError):  # lo is down there
                    sock.connect(("127.0.0.1", 9))
                assert inhabited({there, home}) == {there, home}
        other.kill()


@pytest.mark.needs_netns
def test_a_fault_inside_its_network_leads_home(child: subprocess.Popen[bytes]) -> None:
    home = netns_here()
    with Process(child.pid) as process, pytest.raises(ZeroDivisionError), process.network():
        raise ZeroDivisionError

    assert netns_here() == home


def test_kernel_threads_are_known() -> None:
    try:
        with Process(2) as process:
            assert process.is_kernel_thread
    except Gone:
        pytest.skip("this host shows no kernel threads")
