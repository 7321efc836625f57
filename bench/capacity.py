"""How many queries can be answered at all?

The queries are made in the kernel (live frames) at the far end of a veth and their replies
counted there, so no client is in the way. dnsfw answers them at the near end: at TC, with
everything on one core; and by XDP. The peers get a core for themselves while the other makes
more queries than they can answer. What a hit costs is read from the kernel's statistics of its
programs, in a run of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack

from frames import Generator, mac_of
from stands import DNSFW, FAR, NEAR, Stand, cores, ours, peer, present, warm
from support import Figure, Report, arguments, contests, need, pinned, program_version
from zone import ZONE

from tests.support.netlab import Lab

NAMES = 1_000
FRAMES = 1 << 19  # of one run: 20 ms to set up are little beside half a second
_DEVICE = "guest0"


def main() -> None:
    options = arguments(__doc__)
    need("clang", "taskset", "ip", "ethtool", "unbound", "dnsmasq", root=True)
    found = present(("unbound", "dnsmasq", "dnsdist", "pdns-recursor"))
    report = Report("capacity", **{name: program_version(name, "--version") for name in found})
    names = [f"n{number:03d}.{ZONE}" for number in range(NAMES)]
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench capacity"))
        stands = [ours(lab), *(peer(lab, name) for name in found)]
        warm(stands, names)
        shots = {one.name: _Shots(one) for one in stands}
        figures = (
            Figure("answers", "queries made in the kernel: answers", "answers/s", True),
            Figure("bad", "queries made in the kernel: other replies", "replies/s"),
        )
        report.tables += contests(
            figures, {name: shot.turn for name, shot in shots.items()}, options.rounds, found
        )
    report.publish(options)


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
        self.apart = one.name != DNSFW

    def turn(self) -> Mapping[str, float]:
        server, client = cores()
        self._one.on(server)
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
