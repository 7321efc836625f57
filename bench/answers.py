"""How long does a cached look-up take, and how many are answered in a second?

The same 1,000 names, cached by everybody, asked on lo and across a veth as a container would:
one at a time with the server on a core of its own and on the client's core; as many as come
back with everything on one core (work, not waiting) and with a core for the server; and at a
quarter, half and three quarters of what the slowest peer can do. `dnsfw` answers from the
kernel, `dnsfw, Python alone` with `kernel_answers: off`. At the end several clients ask at
once, and share all cores with the server: there `dns.workers` is held against one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import support
from stands import PYTHON, SEVERAL, Stand, cores, names, ours, peer, present, queries, rules, warm
from support import Figure, Report, arguments, contests, need, program_version

from tests.support.netlab import Lab

SECONDS = 0.5  # of one turn of one contender
CLIENTS = 4
WINDOW = "128"  # queries in flight: two batches of the client
_LATENCY = (
    Figure("p50", "p50", "µs"),
    Figure("p99", "p99", "µs"),
    Figure("p999", "p99.9", "µs"),
)


def main() -> None:
    options = arguments(__doc__)
    need("clang", "taskset", "ip", "unbound", "dnsmasq", root=True)
    found = present()
    report = Report("answers", **{name: _version(name) for name in found})
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench answers"))
        stands = [ours(lab), ours(lab, PYTHON), *(peer(lab, name) for name in found)]
        warm(stands, names())
        file = queries(lab, "cached", names())
        run = _Run(report, stands, found, file, options.rounds)
        for far, where in ((False, "lo"), (True, "veth")):
            run.one_at_a_time(f"{where}, one at a time, server on its own core", far, True)
            run.one_at_a_time(f"{where}, one at a time, on one core", far, False)
            run.flood(f"{where}, everything on one core", far, False)
            run.flood(f"{where}, a core for the server", far, True)
        run.loaded("lo")
        alone = next(one for one in stands if one.name == PYTHON)
        several = ours(lab, SEVERAL, rules(kernel=False, workers="auto"))
        warm([alone, several], names(), times=12, ways=(False,))
        run.at_once((alone, several))
    report.publish(options)


def _version(name: str) -> str:
    flag = {"unbound": "-V", "bind9": "-v", "dnsmasq": "--version"}.get(name, "--version")
    program = {"bind9": "named", "pdns-recursor": "pdns_recursor", "knot-resolver": "kresd"}
    return program_version(program.get(name, name), flag)


class _Run:
    """The contests, all between the same stands."""

    def __init__(
        self, report: Report, stands: Sequence[Stand], peers: Sequence[str], file: Path,
        rounds: int,
    ) -> None:
        self._report, self._stands, self._peers = report, stands, peers
        self._file, self._rounds = file, rounds
        self._slowest = 0.0

    def one_at_a_time(self, title: str, far: bool, apart: bool) -> None:
        self._contest(title, "one", (), far, apart, _LATENCY)

    def flood(self, title: str, far: bool, apart: bool) -> None:
        figures = (
            Figure("qps", "answers", "queries/s", more_is_better=True),
            Figure("cpu", "work of the whole system a query", "µs of CPU"),
        )
        tables = self._contest(title, "flood", (WINDOW,), far, apart, figures)
        if apart and not far:
            self._slowest = min(tables[0].row(name).median for name in self._peers)

    def loaded(self, where: str) -> None:
        """At equal load: what part of the slowest peer's most."""
        for part in (25, 50, 75):
            rate = self._slowest * part / 100
            self._contest(
                f"{where}, {rate:,.0f} queries/s ({part} % of the slowest peer's most)",
                "paced", (f"{rate:.0f}",), False, True, _LATENCY,
            )

    def at_once(self, stands: Sequence[Stand]) -> None:
        """Each client socket comes to one process, so there must be several."""
        title = f"lo, {CLIENTS} clients at once, on all cores"
        everywhere = sorted(os.sched_getaffinity(0))
        for one in stands:
            one.on(*everywhere)

        def turn(one: Stand) -> Callable[[], Mapping[str, float]]:
            def run() -> Mapping[str, float]:
                before = support.busy_seconds()
                said = one.ask_at_once(CLIENTS, "flood", self._file, SECONDS, WINDOW)
                work = support.busy_seconds() - before
                return {"qps": said["qps"], "cpu": 1e6 * work / max(said["good"], 1)}

            return run

        figures = (
            Figure("qps", f"{title}: answers", "queries/s", more_is_better=True),
            Figure("cpu", f"{title}: work of the whole system a query", "µs of CPU"),
        )
        self._report.tables += contests(
            figures, {one.name: turn(one) for one in stands}, self._rounds, [PYTHON]
        )

    def _contest(
        self, title: str, mode: str, more: Sequence[str], far: bool, apart: bool,
        figures: Sequence[Figure],
    ) -> list[support.Table]:
        server, client = cores()
        for one in self._stands:
            one.on(server if apart else client)

        def turn(one: Stand) -> Callable[[], Mapping[str, float]]:
            def run() -> Mapping[str, float]:
                before = support.busy_seconds()
                said = one.ask(mode, self._file, SECONDS, *more, core=client, far=far)
                work = support.busy_seconds() - before
                times = {key: said[key] / 1000 for key in ("p50", "p99", "p999")}
                return times | {"qps": said["qps"], "cpu": 1e6 * work / max(said["good"], 1)}

            return run

        named = [Figure(f.key, f"{title}: {f.title}", f.unit, f.more_is_better) for f in figures]
        tables = contests(
            named, {one.name: turn(one) for one in self._stands}, self._rounds, self._peers
        )
        self._report.tables += tables
        return tables


if __name__ == "__main__":
    main()
