"""How many cached queries does the proxy answer in a second, beside unbound and dnsmasq?

All three forward to the same upstream and have cached the same 1,000 names; their answers
are compared before a clock runs. Everything is in one namespace on lo; the servers share
one core (only one of them works at a time), dnsperf has the other.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from servers import start_dnsfw, start_dnsmasq, start_unbound
from support import Contender, Report, Table, arguments, contest, need, pinned, program_version
from zone import Upstream, addresses, numbered, query

from tests.support.netlab import Lab, Netns

NAMES = 1_000
_UPSTREAM = ("127.0.0.1", 5400)
_PORTS = {"dnsfw": 5301, "unbound": 5302, "dnsmasq": 5303}
_QPS = re.compile(r"Queries per second:\s+([\d.]+)")
_LATENCY = re.compile(r"Average Latency \(s\):\s+([\d.]+)")
_LOST = re.compile(r"Queries lost:\s+\d+ \(([\d.]+)%\)")
_MOST_LOST = 1.0  # per cent: a server that drops more was not measured
_GOOD = re.compile(r"NOERROR \d+ \(100\.00%\)")


def main() -> None:
    options = arguments(
        __doc__,
        ("--seconds", {"type": float, "default": 1.0, "help": "of one round (default 1)"}),
        ("--outstanding", {"type": int, "default": 100, "help": "queries in flight (default 100)"}),
    )
    need("dnsperf", "unbound", "dnsmasq", "ip", root=True)
    cores = sorted(os.sched_getaffinity(0))
    report = Report(
        "proxy",
        unbound=program_version("unbound", "-V"),
        dnsmasq=program_version("dnsmasq", "--version"),
        dnsperf=program_version("dnsperf", "-h"),
    )
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench proxy"))
        netns = lab.namespace("all")
        with pinned(cores[0]):
            upstream = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
            upstream.bind(_UPSTREAM)
            lab.closing(Upstream(upstream).close)
            start_dnsfw(lab, netns, _PORTS["dnsfw"], _UPSTREAM)
            start_unbound(lab, netns, _PORTS["unbound"], _UPSTREAM)
            start_dnsmasq(lab, netns, _PORTS["dnsmasq"], _UPSTREAM)
        _same_answers(netns)
        names = lab.file("names", "".join(f"{numbered(i)} A\n" for i in range(NAMES)))
        stack.enter_context(pinned(cores[-1]))
        seconds = options.seconds
        for title, unit, flight, figure in (
            (f"cached, {options.outstanding} in flight", "queries/s", options.outstanding, _QPS),
            ("cached, one at a time", "µs", 1, _LATENCY),
        ):
            shots = _Shots(netns, names, seconds, flight, figure)
            report.tables.append(_contest(title, unit, shots, options.rounds))
    report.publish(options)


class _Shots:
    """dnsperf against one port, as often as wanted."""

    def __init__(
        self, netns: Netns, names: Path, seconds: float, flight: int, figure: re.Pattern[str]
    ) -> None:
        self._netns = netns
        self._argv = [
            "dnsperf", "-s", "127.0.0.1", "-d", str(names), "-l", f"{seconds:g}", "-e",
            "-T", "1", "-c", "1", "-q", str(flight),
        ]
        self._figure = figure

    def at(self, port: int) -> Callable[[], float]:
        def run() -> float:
            done = self._netns.run([*self._argv, "-p", str(port)])
            found = self._figure.search(done.stdout)
            lost = _LOST.search(done.stdout)
            if not found or not lost or float(lost[1]) > _MOST_LOST:
                raise RuntimeError(f"dnsperf: {done.stdout}{done.stderr}")
            if not _GOOD.search(done.stdout):
                raise RuntimeError(f"not every answer was good: {done.stdout}")
            return float(found[1]) * (1e6 if self._figure is _LATENCY else 1)

        return run


def _contest(title: str, unit: str, shots: _Shots, rounds: int) -> Table:
    rate = unit == "queries/s"
    contenders = [
        Contender(name, shots.at(port), None if name == "unbound" else "unbound")
        for name, port in _PORTS.items()
    ]
    return contest(title, unit, contenders, rounds, more_is_better=rate)


def _same_answers(netns: Netns) -> None:
    """Ask everybody for everything, which warms the caches too."""
    said: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
    for server, port in _PORTS.items():
        with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(2)
            client.connect(("127.0.0.1", port))
            answers = said[server] = []
            for i in range(NAMES):
                client.send(query(numbered(i), i))
                answers.append(addresses(client.recv(4096)))
    if said["dnsfw"] != said["unbound"] or said["dnsfw"] != said["dnsmasq"]:
        sys.exit("the servers do not answer alike")


if __name__ == "__main__":
    main()
