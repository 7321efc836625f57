"""Restart and upgrade under load: a probe every millisecond, none leaked, none lost."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import dnsfw
from dnsfw.datapath.attach import Wall
from dnsfw.datapath.sink import KernelSink
from dnsfw.model import Nanos
from tests.support.guarded import DENY_ALL, PEER, PEER6, Wrecked, Yard, grant, open_yard
from tests.support.netlab import Capture, Lab, end, wait_until

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
]
BOTH = pytest.mark.parametrize("tcx", [True, False], ids=["tcx", "clsact"])
RESTARTS = 8
REFUSED = "10.9.0.77"  # in the peer's network, never opened
LEAK = b"leaked past the wall"
# A datagram every millisecond to one address, counted by what the system said. With a
# packet socket it goes past every cgroup hook: only the device's hook sees it.
PROBER = """
import json, signal, socket, struct, sys, time
to, payload, kind = sys.argv[1], sys.argv[2].encode(), sys.argv[3]
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
if kind == "frame":
    udp = struct.pack("!HHHH", 9, 9, 8 + len(payload), 0) + payload
    ends = socket.inet_aton("10.9.0.1") + socket.inet_aton(to)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 9, 17, 0) + ends
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    send = lambda: s.sendto(head + udp, ("eth0", 0x0800, 0, 0, b"\\xff" * 6))
else:
    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
    send = lambda: s.sendto(payload, (to, 9))
said = {}
print("ready", flush=True)
while not stop:
    try:
        send()
        name = "sent"
    except OSError as error:
        name = type(error).__name__ if error.errno in (1,) else str(error.errno)
    said[name] = said.get(name, 0) + 1
    time.sleep(0.001)
print(json.dumps(said))
"""
# Adopts the wall, as a daemon would, and dies without a word.
ADOPT_AND_DIE = """
import os, pathlib, signal, sys
from dnsfw.datapath.attach import Wall, WallConfig
from dnsfw.datapath.libbpf import LibbpfBackend
wall = Wall.open(WallConfig(
    LibbpfBackend(), pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), ("eth0",),
    tcx=sys.argv[3] == "True"))
assert wall.adopted
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def yard(lab: Lab) -> Yard:
    return open_yard(lab)


def under_probes(yard: Yard, during: Callable[[], None]) -> dict[str, dict[str, int]]:
    """What every kind of prober was told while `during` ran."""
    guest = yard.lab.guest(yard.here, yard.cgroup)
    argv = [sys.executable, "-S", "-c", PROBER]
    kinds = {
        "refused": (REFUSED, "udp"), "refused6": (PEER6, "udp"), "frame": (REFUSED, "frame"),
    }  # fmt: skip
    probers = {
        name: guest.start([*argv, to, LEAK.decode(), kind]) for name, (to, kind) in kinds.items()
    }
    probers["allowed"] = guest.start([*argv, PEER, "allowed", "udp"])
    try:
        for prober in probers.values():
            assert prober.stdout is not None
            assert prober.stdout.readline() == "ready\n"
        during()
        for prober in probers.values():
            prober.send_signal(signal.SIGTERM)
        said = {
            name: json.loads(prober.communicate(timeout=30)[0]) for name, prober in probers.items()
        }
    finally:
        for prober in probers.values():
            end(prober)
    return said


def neighbours(yard: Yard) -> None:
    """The next hops are known, so what the wall lets through is on the wire at once."""
    mac = yard.there.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()
    for to in (PEER, REFUSED, PEER6):
        yard.here.ip(f"neigh replace {to} lladdr {mac or '02:00:00:00:00:01'} dev eth0")


def check(said: dict[str, dict[str, int]], capture: Capture) -> None:
    assert set(said["refused"]) == {"PermissionError"}, said
    assert set(said["refused6"]) == {"PermissionError"}, said
    assert set(said["frame"]) == {str(105)}, said  # ENOBUFS
    assert set(said["allowed"]) == {"sent"}, said
    assert min(sum(counts.values()) for counts in said.values()) > 100
    assert not capture.saw(LEAK)
    # The last ones may still be on their way to the capture.
    sent = said["allowed"]["sent"]
    wait_until(lambda: arrived(capture) >= sent, what=f"{sent} allowed datagrams")


def arrived(capture: Capture) -> int:
    return sum(b"allowed" in frame for frame in capture.to(PEER))


@BOTH
def test_row_51_a_restart_under_load_leaks_nothing_and_loses_nothing(yard: Yard, tcx: bool) -> None:
    neighbours(yard)
    config = yard.config(tcx=tcx)
    with yard.wall(config) as wall:
        KernelSink(wall.maps).write([grant(PEER)])

    def restart() -> None:
        for _ in range(RESTARTS):
            with yard.wall(config) as wall:
                assert wall.adopted

    with Capture(yard.there, "eth0") as capture:
        said = under_probes(yard, restart)

        check(said, capture)


@BOTH
def test_row_48_kill_9_under_load_leaks_nothing(yard: Yard, tcx: bool) -> None:
    neighbours(yard)
    with yard.wall(yard.config(tcx=tcx)) as wall:
        KernelSink(wall.maps).write([grant(PEER)])
    where = (str(yard.pin_dir), str(yard.cgroup.path), str(tcx))
    argv = [sys.executable, "-P", "-c", ADOPT_AND_DIE, *where]
    env = {**os.environ, "PYTHONPATH": str(Path(dnsfw.__file__).parents[1])}

    def kill() -> None:
        for _ in range(3):
            done = yard.here.run(argv, env=env)
            assert done.returncode == -signal.SIGKILL, done.stderr

    with Capture(yard.there, "eth0") as capture:
        said = under_probes(yard, kill)

        check(said, capture)


def test_row_53_a_failed_start_under_load_leaks_nothing(yard: Yard) -> None:
    neighbours(yard)
    with yard.wall() as wall:
        KernelSink(wall.maps).write([grant(PEER)])

    def fail() -> None:
        for program in ("dnsfw_connect4", "dnsfw_cg_egress", "dnsfw_tc_egress"):
            with pytest.raises(Exception, match=program), yard.wall(yard.config(Wrecked(program))):
                pass

    with Capture(yard.there, "eth0") as capture:
        said = under_probes(yard, fail)

        check(said, capture)


def test_a_policy_swap_under_load_leaks_nothing_and_loses_nothing(yard: Yard) -> None:
    neighbours(yard)
    with yard.here.entered():
        wall = Wall.open(yard.config(), lambda w: KernelSink(w.maps).apply(DENY_ALL))
        sink = KernelSink(wall.maps)
        sink.write([grant(PEER)])

        def swap() -> None:
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                sink.apply(DENY_ALL)

        try:
            with Capture(yard.there, "eth0") as capture:
                said = under_probes(yard, swap)
                check(said, capture)
        finally:
            wall.close(remove=True)


def test_a_grant_outlives_the_process_that_wrote_it_and_dies_by_the_kernels_clock(
    yard: Yard,
) -> None:
    with yard.wall() as wall:
        soon = Nanos(time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 1_500_000_000)
        entry = grant(PEER)
        short = entry._replace(grants=(entry.grants[0]._replace(until=soon),))
        KernelSink(wall.maps).write([short])

    assert yard.sends(PEER)
    wait_until(lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) > soon, what="the deadline")
    assert not yard.sends(PEER)
