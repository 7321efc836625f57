"""How many queries can be answered at all?

The queries are made in the kernel (live frames) at the far end of a veth and their replies
counted there, so no client is in the way. dnsfw answers them at the near end: at TC and by
native XDP, with everything on one core, and in Python alone. That and the peers get a core for
themselves while the other makes more queries than they can answer. What a hit costs is read
from the kernel's statistics of its program, in a run of its own.

By itself dnsfw puts a generic program on a veth, for what a native one sends back is lost there
unless the other end polls; here it does. So for XDP the daemon is killed once it has published
its answers, and its own program takes the place of its link, natively.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from frames import Generator, attach, mac_of
from stands import DNSFW, FAR, NEAR, PYTHON, Stand, cores, ours, peer, present, rules, warm
from support import (
    Figure,
    Report,
    Row,
    Table,
    arguments,
    contests,
    need,
    pinned,
    program_version,
)
from zone import ZONE

from dnsfw.datapath.syscall import Cmd, call
from tests.support.netlab import Lab

NAMES = 1_000
FRAMES = 1 << 21  # of one run: 20 ms to set up are little beside half a second
_DEVICE = "guest0"
_XDP = "dnsfw, XDP"


def main() -> None:
    options = arguments(__doc__)
    need("clang", "taskset", "ip", "ethtool", "unbound", "dnsmasq", root=True)
    found = present(("unbound", "dnsmasq", "dnsdist", "pdns-recursor"))
    report = Report("capacity", **{name: program_version(name, "--version") for name in found})
    names = [f"n{number:03d}.{ZONE}" for number in range(NAMES)]
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench capacity"))
        xdp = ours(lab, _XDP, rules().replace("dns:\n", f"dns:\n  xdp: [{_DEVICE}]\n", 1))
        stands = [ours(lab), xdp, ours(lab, PYTHON), *(peer(lab, name) for name in found)]
        warm(stands, names)
        program = _natively(xdp)
        stack.callback(os.close, program)
        shots = {one.name: _Shots(one) for one in stands}
        figures = (
            Figure("answers", "queries made in the kernel: answers", "answers/s", True),
            Figure("bad", "queries made in the kernel: other replies", "replies/s"),
        )
        report.tables += contests(
            figures, {name: shot.turn for name, shot in shots.items()}, options.rounds, found
        )
        report.tables.append(_hit(shots[_XDP], program, options.rounds))
    report.publish(options)


def _natively(one: Stand) -> int:
    """The program that answers by XDP, attached natively where the daemon's link was; its
    descriptor. The daemon is gone then, and would put its link back otherwise.
    """
    shown = one.netns.run(["ip", "-j", "link", "show", _DEVICE])
    number: int = json.loads(shown.stdout)[0]["xdp"]["prog"]["id"]
    program = call(Cmd.PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0), "the program")
    os.kill(one.pid, signal.SIGKILL)
    time.sleep(0.2)
    for pin in (one.lab.bpffs() / "dnsfw").rglob("xdp_*"):
        pin.unlink()
    one.netns.run(["ethtool", "-K", _DEVICE, "gro", "on"])
    with one.netns.entered():
        attach(socket.if_nametoindex(_DEVICE), program)
    return program


def _hit(shots: _Shots, program: int, rounds: int) -> Table:
    """Nanoseconds of the program a run, of which all but a few are hits."""
    stats = call(Cmd.ENABLE_STATS, struct.pack("=I", 0), "statistics of programs")
    try:
        values = []
        for _ in range(rounds):
            before = _spent(program)
            shots.turn()
            after = _spent(program)
            values.append((after[0] - before[0]) / (after[1] - before[1]))
    finally:
        os.close(stats)
    return Table("the kernel's time of a hit", "ns", (Row("by native XDP", tuple(values)),))


def _spent(program: int) -> tuple[int, int]:
    """Nanoseconds, and runs."""
    lines = Path(f"/proc/self/fdinfo/{program}").read_text().splitlines()
    words = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(words["run_time_ns"]), int(words["run_cnt"])


class _Shots:
    """The generator behind one stand."""

    def __init__(self, one: Stand) -> None:
        self._one = one
        mine, theirs = mac_of(one.netns, _DEVICE), mac_of(one.behind, "eth0")
        self._generator = Generator(
            one.lab, one.behind, "eth0", (mine, NEAR), FAR, f"n000.{ZONE}", NAMES
        )
        one.netns.ip(f"neigh replace {FAR} lladdr {theirs} dev {_DEVICE} nud permanent")
        one.netns.run(["ethtool", "-K", _DEVICE, "gro", "on"])
        # in the kernel: on the core that makes the queries
        self._apart = one.name not in (DNSFW, _XDP)

    def turn(self) -> Mapping[str, float]:
        server, client = cores()
        if self._one.name != _XDP:
            self._one.on(server if self._apart else client)
        before = self._generator.counts()
        start = time.perf_counter()
        with pinned(client):
            self._generator.run(FRAMES)
        took = time.perf_counter() - start
        after = self._generator.counts()
        _, replies, bad = (b - a for a, b in zip(before, after, strict=True))
        return {"answers": (replies - bad) / took, "bad": bad / took}


if __name__ == "__main__":
    main()
