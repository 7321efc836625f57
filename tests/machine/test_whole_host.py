"""Plain `dnsfw up`: the root cgroup and every device, on the kernel that runs.

One machine and one firewall, in the order of the file: a start takes an emulated CPU
many seconds. Elsewhere nothing may guard a root cgroup, so elsewhere this is skipped.
"""

from __future__ import annotations

import json
import signal
import socket
from contextlib import suppress

import pytest

from dnsfw.datapath.libbpf import LibbpfBackend
from tests.support.machine import HOST, SOON, Machine, from_outside, kernel_at_least
from tests.support.netlab import Capture, wait_until
from tests.support.packets import IP4, UDP, Ether

pytestmark = [pytest.mark.needs_machine, pytest.mark.needs_root, pytest.mark.needs_bpf]

OPEN4, OPEN6 = "203.0.113.10", "2001:db8::10"
SHUT4, SHUT6 = "203.0.113.66", "2001:db8::66"
PROGRAMS = 33


@pytest.fixture(scope="module")
def bare(machine: Machine) -> dict[str, str]:
    """What the machine looked like before there was a wall."""
    return machine.traces()


@pytest.fixture(scope="module")
def guarded(machine: Machine, bare: dict[str, str]) -> Machine:
    machine.up()
    return machine


@pytest.fixture(scope="module")
def opened(guarded: Machine) -> Machine:
    """www.example.com was asked for."""
    guarded.resolve("www.example.com")
    guarded.resolve("www.example.com", "AAAA")
    return guarded


def test_the_verifier_takes_every_program() -> None:
    kernel = LibbpfBackend().load({})

    verified = {name: program.verified for name, program in kernel.programs.items()}
    kernel.close()
    print(*(f"{name}: {count} instructions" for name, count in verified.items()), sep="\n")
    assert len(verified) == PROGRAMS
    assert max(verified.values()) < 1_000_000 / 2  # BPF_COMPLEXITY_LIMIT_INSNS, with room


def test_doctor_finds_what_this_kernel_has(machine: Machine) -> None:
    checks = {check["name"]: check for check in json.loads(machine.command("doctor", "--json"))}

    assert all(check["ok"] for check in checks.values() if check["vital"]), checks
    assert checks["TCX"]["ok"] is kernel_at_least(6, 6)


def test_ready_means_that_every_hook_stands(guarded: Machine) -> None:
    hooks = json.loads(guarded.command("status", "--json"))["hooks"]

    assert guarded.said[-1].startswith("ready"), guarded.said
    assert all(hook["attached"] for hook in hooks), hooks
    assert {hook["how"] for hook in hooks} == {
        "cgroup", "tcx" if kernel_at_least(6, 6) else "clsact"
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "address"), [("A", OPEN4), ("AAAA", OPEN6)])
def test_an_allowed_name_is_answered_and_reached(guarded: Machine, kind: str, address: str) -> None:
    answer = guarded.resolve("www.example.com", kind)

    assert [str(record.rdata) for record in answer.rr] == [address]
    assert f"hello from {address}" in guarded.fetch(address)


def test_a_denied_name_goes_nowhere(guarded: Machine) -> None:
    answer = guarded.resolve("ads.tracker.example")

    assert answer.rr == []
    assert "tracker" not in guarded.asked()


@pytest.mark.parametrize("address", [SHUT4, SHUT6])
def test_connect_to_an_address_never_resolved_is_eperm(guarded: Machine, address: str) -> None:
    with pytest.raises(PermissionError):
        socket.create_connection((address, 80), SOON)


@pytest.mark.parametrize(("family", "address"), [(2, SHUT4), (10, SHUT6)])
def test_a_datagram_to_an_address_never_resolved_is_eperm(
    guarded: Machine, family: int, address: str
) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock, pytest.raises(PermissionError):
        sock.sendto(b"leak", (address, 80))


def test_a_raw_socket_that_no_address_hook_sees_is_eperm(guarded: Machine) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock,
        pytest.raises(PermissionError),
    ):
        sock.sendto(b"\x08\0\xf7\xff\0\0\0\0", (SHUT4, 0))


def test_a_packet_socket_is_stopped_at_the_device(opened: Machine) -> None:
    with (
        Capture(opened.internet, "eth0") as wire,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock,
    ):
        sock.bind(("eth0", 0))
        for data, address in ((b"leak", SHUT4), (b"fine", OPEN4)):
            with suppress(OSError):  # ENOBUFS: what a device says that drops
                sock.send(bytes(Ether(IP4(address, UDP(80, data), src=HOST))))
        wait_until(lambda: wire.saw(b"fine"), SOON, "the datagram that is allowed")

        assert not wire.saw(b"leak")


def test_a_peer_may_call_a_listener_that_is_older_than_the_wall(guarded: Machine) -> None:
    call = f"import socket; print(socket.create_connection(('{HOST}', 8080), 20).recv(5))"
    guarded.older.settimeout(SOON)
    caller = guarded.internet.start(["python3", "-c", call])
    accepted, _ = guarded.older.accept()
    with accepted:
        accepted.sendall(b"hello")

    assert caller.stdout is not None
    assert "hello" in caller.stdout.read()


def test_another_namespace_is_left_alone(guarded: Machine) -> None:
    """Its sockets are in the root cgroup too, and some are older than the wall."""
    send = "import socket; s = socket.socket(2, 2); s.settimeout(20)"
    to_itself = f"{send}; s.sendto(b'x', ('{SHUT4}', 80)); print(s.recv(9))"

    assert from_outside(guarded.internet, to_itself) == "b'x'"
    guarded.stranger.settimeout(SOON)
    guarded.stranger.sendto(b"y", (SHUT4, 80))
    assert guarded.stranger.recv(9) == b"y"


def test_a_stopped_daemon_leaves_the_wall_and_the_next_takes_it_over(opened: Machine) -> None:
    assert opened.end(signal.SIGTERM) == 0
    assert f"hello from {OPEN4}" in opened.fetch(OPEN4)
    with pytest.raises(PermissionError):
        socket.create_connection((SHUT4, 80), SOON)

    opened.up()

    assert f"hello from {OPEN4}" in opened.fetch(OPEN4)
    with pytest.raises(PermissionError):
        socket.create_connection((SHUT4, 80), SOON)


def test_ctrl_c_leaves_the_machine_as_it_was_found(guarded: Machine, bare: dict[str, str]) -> None:
    during = guarded.traces()

    assert guarded.end() == 0

    assert "dnsfw" in during["programs"]
    assert guarded.traces() == bare
    assert "hello from" in guarded.fetch(SHUT4)
