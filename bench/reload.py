"""Does anybody notice that a policy of a million names is put in force?

dnsperf and a client of ours ask all the time, connections to an allowed and to a refused address
begin all the time, and the policy is reloaded again and again: with a list that has changed, which
is compiled from its source, and with one that has not. What must be zero is counted: queries that
were lost or answered otherwise, allowed connections that failed, packets to the refused address at
the peer. Then the times from a query's due moment to its answer: before, during and after.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lists import made
from servers import LO, start_dnsfw
from stands import (
    DNSFW,
    FAR,
    NEAR,
    PORT,
    PYTHON,
    UPSTREAM,
    Stand,
    client,
    names,
    queries,
    stand,
    warm,
)  # fmt: skip
from support import Report, Row, Table, arguments, need
from zone import policy

from tests.support.daemon import Daemon
from tests.support.netlab import Capture, Cgroup, Guest, Lab, Netns

MILLION = 1_000_000
CHANGED = 1_000  # names of the list that are others after a change
RATE = 400  # queries a second of our client, come what may
FLOOD = 400  # of dnsperf
QUIET = 2.0  # seconds before, between and after
LISTED = 100  # of a thousand names that are asked: refused, before and after
ALLOWED, NEVER = "198.18.0.1", "203.0.113.9"
_PATIENCE = 300.0  # seconds for a reload
_PAIR = struct.Struct("=QQ")
_LOST = re.compile(r"Queries lost:\s+(\d+)")
_QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("the longest", 1.0))
_BEFORE, _SOURCE, _CACHE, _AFTER = "before", "during, list from source", "during, list as it was", \
    "between and after"  # fmt: skip

_LISTEN = """
import socket, sys
s = socket.create_server((sys.argv[1], 443), backlog=1024)
print("ready", flush=True)
while True:
    s.accept()[0].close()
"""
_CONNECT = """
import collections, errno, signal, socket, struct, sys, time
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
seen = collections.Counter()
print("ready", flush=True)
while going:
    with socket.socket() as s:
        s.settimeout(2)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            s.connect((sys.argv[1], 443))
            seen["OK"] += 1
        except OSError as error:
            seen[errno.errorcode.get(error.errno, "TIMEOUT")] += 1
    time.sleep(0.005)
print(dict(seen), flush=True)
"""


def main() -> None:
    options = arguments(
        __doc__,
        ("--names", {"type": int, "default": MILLION, "help": "of the list (default 1000000)"}),
        ("--only", {"choices": [DNSFW, PYTHON], "help": "one of the two"}),
    )
    need("clang", "dnsperf", "taskset", "ip", root=True)
    report = Report("reload")
    wrong: list[str] = []
    for name in (DNSFW, PYTHON) if options.only is None else (options.only,):
        with ExitStack() as stack:
            lab = stack.enter_context(Lab(f"bench reload {len(name)}"))
            bench = _Bench(lab, name, options.names)
            bench.watch(options.rounds)
            report.tables += bench.tables()
            wrong += bench.wrong()
    report.publish(options)
    print()
    for line in wrong:
        print(f"WRONG: {line}")
    sys.exit(1 if wrong else 0)


@dataclass(frozen=True, slots=True)
class _Reload:
    """One of them: when, in nanoseconds of CLOCK_MONOTONIC, and whether its list was new."""

    began: int
    ended: int
    source: bool


@dataclass(slots=True)
class _Counted:
    """What the others found who were busy all the time."""

    sent: int = 0
    bad: int = 0
    lost: int = 0
    perf_lost: int = 0
    flows: dict[str, int] = field(default_factory=dict)
    never: dict[str, int] = field(default_factory=dict)
    leaked: int = 0


class _Bench:
    """dnsfw with a long list, and everybody who watches it change."""

    def __init__(self, lab: Lab, name: str, count: int) -> None:
        self.lab = lab
        self.name = name
        self.listed = made(count)
        self.reloads: list[_Reload] = []
        self.times: list[tuple[int, int]] = []
        self.counted = _Counted()
        self.daemon: Daemon | None = None
        self.stand = self._start()
        self._route()

    def _text(self, number: int) -> str:
        switch = "on" if self.name == DNSFW else "off"
        text = policy().replace("rules:\n", "rules:\n  - deny: {list: block.txt}\n")
        return f"# {number}\n{text}  kernel_answers: {switch}\n"

    def _write(self, number: int) -> None:
        """The list; some of its names are others each time."""
        fresh = [f"n{i}.change{number}.blocked.example" for i in range(CHANGED)]
        place = self.lab.scratch / "block.txt"
        aside = place.with_suffix(".new")
        names = self.listed if number else self.listed[:LISTED]  # it starts with a short one
        aside.write_text("\n".join([*names, *fresh]) + "\n")
        aside.rename(place)

    def _start(self) -> Stand:
        os.environ["DNSFW_CACHE_DIR"] = str(self.lab.scratch / "cache")
        self._write(0)

        def start(lab: Lab, netns: Netns, cgroup: Cgroup) -> int:
            self.daemon = start_dnsfw(
                lab, netns, PORT, UPSTREAM, self._text(0), cgroup=cgroup, addresses=(LO, NEAR)
            )
            for pid in Path("/proc/self/task").iterdir():  # the stand has pinned us for a moment
                os.sched_setaffinity(int(pid.name), range(os.cpu_count() or 1))
            return self.daemon.pid

        return stand(self.lab, self.name, start)

    def _route(self) -> None:
        here = self.stand
        for prefix in ("198.18.0.0/15", "203.0.113.0/24"):
            here.netns.ip(f"route add {prefix} via {FAR}")
        here.behind.ip(f"addr add {ALLOWED}/32 dev lo")
        self._write(1)
        self._reload(1)
        warm([here], names(), ways=(False,))

    # --- everybody at work ---

    def watch(self, rounds: int) -> None:
        here, scratch = self.stand, self.lab.scratch
        place = Guest(here.netns, here.cgroup)
        asked = [*names()[: -LISTED], *(f"{one}" for one in self.listed[:LISTED])]
        file = queries(self.lab, "asked", asked)
        lines = scratch / "dnsperf.names"
        lines.write_text("".join(f"{name} A\n" for name in asked))
        most = (rounds * 2 + 1) * (QUIET + _PATIENCE)
        raw = scratch / "times"
        with Capture(here.behind, "eth0") as wire, ExitStack() as busy:
            listener = _ready(here.behind.start([sys.executable, "-c", _LISTEN, ALLOWED]))
            busy.callback(listener.kill)
            flows = _ready(place.start([sys.executable, "-c", _CONNECT, ALLOWED]))
            never = _ready(place.start([sys.executable, "-c", _CONNECT, NEVER]))
            perf = place.start(["dnsperf", "-s", LO, "-d", str(lines), "-l", f"{most:g}", "-e",
                                "-q", "100", "-Q", str(FLOOD), "-t", "2"])
            paced = place.start(
                [str(client(self.lab)), "paced", LO, str(PORT), str(file), f"{most:g}", str(RATE)],
                env=os.environ | {"RAW": str(raw)},
            )
            for process in (flows, never, perf, paced):
                busy.callback(process.kill)
            self._reload_in_turns(rounds)
            self._end(perf, paced, flows, never)
            if os.environ.get("SHOW"):
                assert self.daemon is not None
                told = self.daemon.show("status")
                print({k: told[k] for k in ("server", "dns", "packets")}, self.counted)
            self.counted.leaked = len(wire.to(NEVER))
        data = raw.read_bytes()
        self.times = [(began, took) for began, took in _PAIR.iter_unpack(data)]

    def _reload_in_turns(self, rounds: int) -> None:
        time.sleep(2 * QUIET)
        for number in range(2, 2 * rounds + 2):
            source = number % 2 == 0
            if source:
                self._write(number)
            began, ended = self._reload(number)
            self.reloads.append(_Reload(began, ended, source))
            time.sleep(QUIET)

    def _reload(self, number: int) -> tuple[int, int]:
        """When it began, and when it had returned."""
        assert self.daemon is not None
        self.daemon.policy.write_text(self._text(number))
        began = time.monotonic_ns()
        done = self.daemon.command("reload", timeout=_PATIENCE)
        if done.returncode:
            raise RuntimeError(f"reload: {done.stderr}")
        return began, time.monotonic_ns()

    def _end(self, perf: subprocess.Popen[str], paced: subprocess.Popen[str],
             flows: subprocess.Popen[str], never: subprocess.Popen[str]) -> None:  # fmt: skip
        counted = self.counted
        said = _words(paced)
        found = ast.literal_eval(said.splitlines()[-1])
        counted.sent, counted.bad, counted.lost = (int(found[k]) for k in ("sent", "bad", "lost"))
        lost = _LOST.search(text := _words(perf, signal.SIGINT))
        if lost is None:
            raise RuntimeError(f"dnsperf: {text}")
        counted.perf_lost = int(lost[1])
        counted.flows = ast.literal_eval(_words(flows).splitlines()[-1])
        counted.never = ast.literal_eval(_words(never).splitlines()[-1])

    # --- what came of it ---

    def wrong(self) -> list[str]:
        """Everything that had to be zero and is not."""
        found = self.counted
        told = {
            "queries lost": found.lost + found.perf_lost,
            "answers that changed": found.bad,
            "allowed connections refused": sum(found.flows.values()) - found.flows.get("OK", 0),
            "refused connections let through": sum(
                count for how, count in found.never.items() if how != "EPERM"
            ),
            "packets leaked": found.leaked,
        }
        return [f"{self.name}: {count} {what}" for what, count in told.items() if count]

    def tables(self) -> list[Table]:
        """A table for each quantile, and one for how long the reloads took."""
        found = self.counted
        notes = (
            f"{len(self.reloads)} reloads; {found.sent} queries of our client at {RATE}/s, beside "
            f"dnsperf at {FLOOD}/s: {found.lost + found.perf_lost} lost, {found.bad} answered "
            f"otherwise; {found.flows.get('OK', 0)} connections allowed, "
            f"{sum(found.flows.values()) - found.flows.get('OK', 0)} of them refused; "
            f"{sum(found.never.values())} refused, {found.leaked} packets leaked",
        )
        phases = self._phases()
        tables = [
            Table(
                f"{self.name}: {title} of answers", "µs",
                tuple(_row(phase, parts, quantile) for phase, parts in phases.items()),
                notes if title == "p50" else (),
            )
            for title, quantile in _QUANTILES
        ]  # fmt: skip
        took = {
            title: tuple((r.ended - r.began) / 1e6 for r in self.reloads if r.source is source)
            for title, source in (("list from source", True), ("list as it was", False))
        }
        rows = tuple(Row(title, values) for title, values in took.items() if values)
        return [*tables, Table(f"{self.name}: `dnsfw reload`, until it returns", "ms", rows)]

    def _phases(self) -> dict[str, list[list[int]]]:
        """The times of each phase, one list for each of its reloads or pauses."""
        first = self.reloads[0].began
        ends = [r.began for r in self.reloads[1:]] + [self.times[-1][0] + 1]
        spans: dict[str, list[tuple[int, int]]] = {
            _BEFORE: [(first - int(QUIET * 1e9), first)],
            _SOURCE: [(r.began, r.ended) for r in self.reloads if r.source],
            _CACHE: [(r.began, r.ended) for r in self.reloads if not r.source],
            _AFTER: [(r.ended, end) for r, end in zip(self.reloads, ends, strict=True)],
        }
        return {
            phase: [
                [took for began, took in self.times if low <= began < high] for low, high in parts
            ]
            for phase, parts in spans.items()
        }


def _row(phase: str, parts: Sequence[Sequence[int]], quantile: float) -> Row:
    values = []
    for part in parts:
        ordered = sorted(part)
        if ordered:
            values.append(ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] / 1000)
    return Row(phase, tuple(values) or (0.0,))


def _ready(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError("a prober does not start")
    return process


def _words(process: subprocess.Popen[str], how: int = signal.SIGTERM) -> str:
    """End it, and read what it counted."""
    assert process.stdout is not None
    process.send_signal(how)
    return str(process.stdout.read()).strip()


if __name__ == "__main__":
    main()
