"""Does anybody notice that a policy of a million names is put in force?

dnsperf and a client of ours ask all the time, connections to an allowed and to a refused address
begin all the time, and the policy is reloaded again and again: with a list that has changed, which
is compiled from its source, and with one that has not. Each reload has a control beside it, before
or behind in turn: as long a time in which all the same goes on and nobody reloads. What must be
zero is counted for both: queries that were lost or answered otherwise, allowed connections that
failed, packets to the refused address at the peer. Then the times from a query's due moment to its
answer, held against the control's. The clients take one core and a half, as they do in the
control: what a reload costs beside them is its share of the rest.
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
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
    cores,
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
QUIET = 0.5  # seconds before and after: what a reload has begun may end, and answers are warm
LISTED = 100  # of a thousand names that are asked: refused, before and after
ALLOWED, NEVER = "198.18.0.1", "203.0.113.9"
_PATIENCE = 300.0  # seconds for a reload
_PAIR = struct.Struct("=QQ")
_SENT = re.compile(r"Queries sent:\s+(\d+)")
_LOST = re.compile(r"Queries lost:\s+(\d+)")
_NEVER_CAME = 2**64 - 1
_WARM = 3  # times that every name is asked for before: the second publishes it
_QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("the longest", 1.0))
_CONTROL, _SOURCE, _CACHE = "without a reload", "list from source", "list as it was"

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
class _Span:
    """A reload, or as long without one: when, in nanoseconds of CLOCK_MONOTONIC, and what became
    of dnsperf's queries.
    """

    began: int
    ended: int
    sent: int
    lost: int


@dataclass(frozen=True, slots=True)
class _Pair:
    """A reload and its control."""

    source: bool  # whether the list was another
    reload: _Span
    control: _Span


@dataclass(slots=True)
class _Counted:
    """What the others found who were busy all the time."""

    bad: int = 0
    flows: dict[str, int] = field(default_factory=dict)
    never: dict[str, int] = field(default_factory=dict)
    leaked: int = 0


class _Bench:
    """dnsfw with a long list, and everybody who watches it change."""

    def __init__(self, lab: Lab, name: str, count: int) -> None:
        self.lab = lab
        self.name = name
        self.listed = made(count)
        self.pairs: list[_Pair] = []
        self.times: list[tuple[int, int]] = []
        self.counted = _Counted()
        self.first = 0.0  # seconds of a reload, until one has been measured
        self.asked = self.lines = lab.scratch  # what is asked for: for our client, for dnsperf
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
        began = time.monotonic()
        self._reload(1)
        self.first = time.monotonic() - began
        warm([here], names(), ways=(False,))

    # --- everybody at work ---

    def watch(self, rounds: int) -> None:
        here, scratch = self.stand, self.lab.scratch
        place = Guest(here.netns, here.cgroup)
        asked = [*names()[: -LISTED], *(f"{one}" for one in self.listed[:LISTED])]
        self.asked = file = queries(self.lab, "asked", asked)
        self.lines = scratch / "dnsperf.names"
        self.lines.write_text("".join(f"{name} A\n" for name in asked))
        most = rounds * 4 * (2 * QUIET + _PATIENCE)
        raw = scratch / "times"
        with Capture(here.behind, "eth0") as wire, ExitStack() as busy:
            listener = _ready(here.behind.start([sys.executable, "-c", _LISTEN, ALLOWED]))
            busy.callback(listener.kill)
            flows = _ready(place.start([sys.executable, "-c", _CONNECT, ALLOWED]))
            never = _ready(place.start([sys.executable, "-c", _CONNECT, NEVER]))
            paced = place.start(
                [str(client(self.lab)), "paced", LO, str(PORT), str(file), f"{most:g}", str(RATE)],
                env=os.environ | {"RAW": str(raw)},
            )
            for process in (flows, never, paced):
                busy.callback(process.kill)
            self._reload_in_turns(rounds)
            self._end(paced, flows, never)
            self.counted.leaked = len(wire.to(NEVER))
        self.times = list(_PAIR.iter_unpack(raw.read_bytes()))

    def _reload_in_turns(self, rounds: int) -> None:
        """Now the control comes first and now the reload, so that no trend looks like one."""
        seconds = {True: self.first, False: self.first}  # that the last one took
        for number in range(2, 2 * rounds + 2):
            source, before = number % 2 == 0, number % 4 in (0, 1)
            control = self._span(lambda: time.sleep(seconds[source])) if before else None  # noqa: B023
            if source:
                self._write(number)
            reload = self._span(lambda: self._reload(number))  # noqa: B023
            seconds[source] = (reload.ended - reload.began) / 1e9
            if control is None:
                control = self._span(lambda: time.sleep(seconds[source]))  # noqa: B023
            self.pairs.append(_Pair(source, reload, control))

    def _span(self, act: Callable[[], object]) -> _Span:
        """dnsperf has a run of its own for each, so that what it loses has a place. Both begin
        with every answer where it is when nobody has reloaded for long.
        """
        time.sleep(QUIET)
        everywhere = ",".join(map(str, cores()))
        for _ in range(_WARM):
            with suppress(RuntimeError):  # some are late where the machine is busy: no matter here
                self.stand.ask(
                    "flood", self.asked, _PATIENCE, "16", core=everywhere, env={"ONCE": "1"}
                )
        perf = Guest(self.stand.netns, self.stand.cgroup).start(
            ["dnsperf", "-s", LO, "-d", str(self.lines), "-l", f"{_PATIENCE:g}", "-e",
             "-q", "100", "-Q", str(FLOOD), "-t", "2"]
        )
        try:
            time.sleep(QUIET)
            began = time.monotonic_ns()
            act()
            ended = time.monotonic_ns()
            time.sleep(QUIET)
            text = _words(perf, signal.SIGINT)
        finally:
            perf.kill()
        if (sent := _SENT.search(text)) is None or (lost := _LOST.search(text)) is None:
            raise RuntimeError(f"dnsperf: {text}")
        return _Span(began, ended, int(sent[1]), int(lost[1]))

    def _reload(self, number: int) -> None:
        assert self.daemon is not None
        self.daemon.policy.write_text(self._text(number))
        done = self.daemon.command("reload", timeout=_PATIENCE)
        if done.returncode:
            raise RuntimeError(f"reload: {done.stderr}")

    def _end(self, paced: subprocess.Popen[str], flows: subprocess.Popen[str],
             never: subprocess.Popen[str]) -> None:  # fmt: skip
        counted = self.counted
        counted.bad = int(ast.literal_eval(_words(paced).splitlines()[-1])["bad"])
        counted.flows = ast.literal_eval(_words(flows).splitlines()[-1])
        counted.never = ast.literal_eval(_words(never).splitlines()[-1])

    # --- what came of it ---

    def _asked(self, spans: Iterable[_Span]) -> tuple[int, int]:
        """How many queries were sent meanwhile, by both, and how many never answered."""
        asked = lost = 0
        for span in spans:
            mine = [took for began, took in self.times if span.began <= began < span.ended]
            asked += span.sent + len(mine)
            lost += span.lost + mine.count(_NEVER_CAME)
        return asked, lost

    def wrong(self) -> list[str]:
        """Everything that had to be zero and is not; of lost queries more than in the control."""
        found = self.counted
        _, lost = self._asked(pair.reload for pair in self.pairs)
        _, anyway = self._asked(pair.control for pair in self.pairs)
        told = {
            f"queries lost, and {anyway} in the control": lost if lost > anyway else 0,
            "answers that changed": found.bad,
            "allowed connections refused": sum(found.flows.values()) - found.flows.get("OK", 0),
            "refused connections let through": sum(
                count for how, count in found.never.items() if how != "EPERM"
            ),
            "packets leaked": found.leaked,
        }
        return [f"{self.name}: {count} {what}" for what, count in told.items() if count]

    def _notes(self) -> Iterator[str]:
        found = self.counted
        for what, spans in (
            ("during reloads", [pair.reload for pair in self.pairs]),
            ("in the control", [pair.control for pair in self.pairs]),
        ):
            asked, lost = self._asked(spans)
            yield f"{what} {lost} of {asked} queries lost"
        yield f"{found.bad} answered otherwise"
        yield f"{found.flows.get('OK', 0)} allowed connections"
        yield f"{sum(found.flows.values()) - found.flows.get('OK', 0)} of them refused"
        yield f"{sum(found.never.values())} refused ones"
        yield f"{found.leaked} packets leaked"

    def tables(self) -> list[Table]:
        """A table for each quantile, and one for how long the reloads took."""
        notes = (
            f"{len(self.pairs)} reloads, each beside as long a time without: our client at "
            f"{RATE}/s, dnsperf at {FLOOD}/s: {', '.join(self._notes())}",
        )
        tables = [
            Table(f"{self.name}: {title} of answers", "µs", tuple(self._rows(quantile)),
                  notes if title == "p50" else ())
            for title, quantile in _QUANTILES
        ]  # fmt: skip
        took = {
            title: tuple((p.reload.ended - p.reload.began) / 1e6 for p in self._of(source))
            for title, source in ((_SOURCE, True), (_CACHE, False))
        }
        rows = tuple(Row(title, values) for title, values in took.items() if values)
        return [*tables, Table(f"{self.name}: `dnsfw reload`, until it returns", "ms", rows)]

    def _of(self, source: bool) -> list[_Pair]:
        return [pair for pair in self.pairs if pair.source is source]

    def _rows(self, quantile: float) -> Iterator[Row]:
        controls = tuple(self._quantile(pair.control, quantile) for pair in self.pairs)
        yield Row(_CONTROL, controls)
        for title, source in ((_SOURCE, True), (_CACHE, False)):
            pairs = [
                (self._quantile(pair.reload, quantile), self._quantile(pair.control, quantile))
                for pair in self._of(source)
            ]
            values = tuple(mine for mine, _ in pairs)
            yield Row(title, values, _CONTROL, tuple(beside / mine for mine, beside in pairs))

    def _quantile(self, span: _Span, quantile: float) -> float:
        """Of what was answered, in microseconds."""
        ordered = sorted(
            took for began, took in self.times
            if span.began <= began < span.ended and took != _NEVER_CAME
        )  # fmt: skip
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] / 1000


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
