"""What every bench program shares: the machine, fair rounds, medians, the table, the JSON.

Contenders of one contest alternate (A B A B), so that a neighbour's noise falls on all of
them; a ratio is the median of the ratios of single rounds, never a figure of another run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
# Behind site-packages: an installed wheel is measured, not the checkout beside it.
sys.path.append(str(ROOT))

ROUNDS = 7
ENOUGH_ROUNDS = 5  # even when the time is up: a median of fewer says nothing
BUDGET = 45.0  # seconds a whole program may start rounds for
ROUND = 0.05  # seconds a loop in Python runs for: thousands of calls, little drift
MOST_DRIFT = 0.10  # of a contender against itself; beyond, the figures of a run are no use
HOST_LACKS = 3  # exit code, as dnsfw's own

_started = time.monotonic()


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the job: `run` does one round and returns its figure."""

    name: str
    run: Callable[[], float]
    peer: str | None = None  # the contender that this one is held against


@dataclass(frozen=True, slots=True)
class Row:
    """What the rounds of one contender gave; `ratio` above 1 means better than its peer."""

    name: str
    values: tuple[float, ...]
    peer: str | None = None
    ratios: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "median": self.median,
            "low": min(self.values),
            "high": max(self.values),
            "values": list(self.values),
            "peer": self.peer,
            "times_better": self.ratio,
        }


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one contest. `less` is better for a time, more for a rate."""

    title: str
    unit: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    drift: float | None = None  # one contender against itself, as if it were another

    @property
    def refused(self) -> bool:
        """The machine was too restless: what was measured twice did not come out alike."""
        return self.drift is not None and abs(self.drift - 1) > MOST_DRIFT

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "unit": self.unit,
            "rows": [row.as_json() for row in self.rows],
            "notes": list(self.notes),
            "drift": self.drift,
            "refused": self.refused,
        }


class Report:
    """Everything that one program found. Made at its start, for the load before."""

    def __init__(self, name: str, **peers: str) -> None:
        self.name = name
        self.peers = peers
        self.tables: list[Table] = []
        self._ticks = _cpu_ticks()
        self._load = os.getloadavg()[0]

    def machine(self) -> dict[str, Any]:
        """Where it ran, and how quiet it was there."""
        steal, total = (a - b for a, b in zip(_cpu_ticks(), self._ticks, strict=True))
        return {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "dnsfw": _dnsfw_version(),
            **self.peers,
            "load_before": round(self._load, 2),
            "steal_percent": round(100 * steal / total, 1) if total else 0.0,
        }

    def publish(self, options: argparse.Namespace) -> None:
        """Print the tables, and write them where `--json` says."""
        machine = self.machine()
        print(f"{self.name}: " + ", ".join(f"{key} {value}" for key, value in machine.items()))
        for table in self.tables:
            print()
            print(_text(table))
            if table.drift is not None:
                word = "REFUSED: " if table.refused else ""
                print(f"{word}against itself, the peer measured twice: x {table.drift:.2f}")
        if options.json:
            found = {
                "bench": self.name,
                "machine": machine,
                "tables": [table.as_json() for table in self.tables],
            }
            options.json.write_text(json.dumps(found, indent=1) + "\n")


def arguments(doc: str | None, *extra: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """The options of every program, and those of this one."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=_at_least_one, default=ROUNDS,
        help=f"rounds of every contender (default {ROUNDS}); fewer when the time is up",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    for flag, how in extra:
        parser.add_argument(flag, **how)
    # What was made goes with the program, however it is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return parser.parse_args()


def _at_least_one(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def contest(
    title: str,
    unit: str,
    contenders: Sequence[Contender],
    rounds: int,
    *,
    more_is_better: bool = False,
    in_order: bool = False,
    notes: Sequence[str] = (),
    twice: str | None = None,
    tries: int = 2,
) -> Table:
    """Let them run in turns, in one order and then in the other (`in_order`: always in the
    first); the first turn is for warmth. The contender that is named by `twice` runs twice in
    each round: what it differs from itself is the drift, and too much of it refuses the run,
    which is tried again.
    """
    if twice is not None:
        again = next(c for c in contenders if c.name == twice)
        more = (*contenders, Contender(f"{twice}, again", again.run, twice))
        for _ in range(tries):
            table = contest(title, unit, more, rounds, more_is_better=more_is_better,
                            in_order=in_order, notes=notes)
            table = replace(table, rows=table.rows[:-1], drift=table.rows[-1].ratio)
            if not table.refused:
                break
        return table
    for contender in contenders:
        contender.run()
    values: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        if number >= ENOUGH_ROUNDS and time.monotonic() - _started > BUDGET:
            break
        for contender in contenders if in_order or number % 2 == 0 else reversed(contenders):
            values[contender.name].append(contender.run())
    return Table(
        title, unit, tuple(_row(c, values, more_is_better) for c in contenders), tuple(notes)
    )


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the figures that a round gives: where it stands, and what is better."""

    key: str
    title: str
    unit: str
    more_is_better: bool = False


def contests(
    figures: Sequence[Figure],
    contenders: Mapping[str, Callable[[], Mapping[str, float]]],
    rounds: int,
    peers: Sequence[str],
    *,
    tries: int = 2,
    notes: Sequence[str] = (),
) -> list[Table]:
    """A table a figure, of rounds that give several at once. Everybody is held against the best
    of the peers; the first of them runs twice in each round, and its drift in the first figure
    refuses the run (it is tried again).
    """
    peers = [peer for peer in peers if peer in contenders]
    twice = peers[0] if peers else next(iter(contenders))
    order = [*contenders, _AGAIN]
    print(f"· {figures[0].title}", file=sys.stderr, flush=True)
    tables: list[Table] = []
    for _ in range(tries):
        found: dict[str, list[Mapping[str, float]]] = {name: [] for name in order}
        for number in range(-1, rounds):
            if number >= ENOUGH_ROUNDS and time.monotonic() - _started > BUDGET:
                break
            for name in order if number % 2 == 0 else reversed(order):
                one = contenders[twice if name == _AGAIN else name]()
                if number >= 0:  # the first turn is for warmth
                    found[name].append(one)
        tables = [_figure_table(figure, found, peers, twice, notes) for figure in figures]
        drift = tables[0].drift
        tables = [replace(table, drift=drift) for table in tables]
        if not tables[0].refused:
            break
    return tables


_AGAIN = "the same again"


def _figure_table(
    figure: Figure,
    found: Mapping[str, Sequence[Mapping[str, float]]],
    peers: Sequence[str],
    twice: str,
    notes: Sequence[str],
) -> Table:
    values = {name: [one[figure.key] for one in ones] for name, ones in found.items()}
    again = values.pop(_AGAIN)
    pairs = [a / b for a, b in zip(again, values[twice], strict=True) if b]
    drift = statistics.median(pairs) if pairs else None
    choose = max if figure.more_is_better else min
    best = choose(peers, key=lambda name: statistics.median(values[name])) if peers else None
    rows = tuple(
        _row(Contender(name, lambda: 0.0, best if name != best else None),
             values, figure.more_is_better)
        for name in values
    )
    return Table(figure.title, figure.unit, rows, tuple(notes), drift)


def _row(contender: Contender, values: Mapping[str, list[float]], more_is_better: bool) -> Row:
    mine = values[contender.name]
    ratios: tuple[float, ...] = ()
    if contender.peer is not None and contender.peer in values:
        pairs = zip(mine, values[contender.peer], strict=True)
        ratios = tuple((a / b if more_is_better else b / a) for a, b in pairs if a > 0 < b)
    return Row(contender.name, tuple(mine), contender.peer, ratios)


def over(table: Table, base: str, title: str, peer: str) -> Table:
    """What each row costs above the base, round by round. Differences of single rounds may
    be negative, so a ratio here is that of the medians.
    """
    zero = next(row for row in table.rows if row.name == base)
    rows = [
        Row(row.name, tuple(a - b for a, b in zip(row.values, zero.values, strict=True)))
        for row in table.rows
        if row is not zero
    ]
    held = next(row for row in rows if row.name == peer)
    return Table(
        title,
        table.unit,
        tuple(
            row if row is held or row.median <= 0
            else Row(row.name, row.values, peer, (held.median / row.median,))
            for row in rows
        ),
    )


def each(call: Callable[[T], object], items: Sequence[T], seconds: float = ROUND) -> float:
    """Microseconds of CPU that one call takes, over all items again and again; the loop's
    own cost (about 0.02 µs) is in it. CPU time, so that a neighbour's turn is not ours.
    """
    clock = time.thread_time_ns
    calls = 0
    start = clock()
    end = start + int(seconds * 1e9)
    while (now := clock()) < end or not calls:
        for item in items:
            call(item)
        calls += len(items)
    return (now - start) / calls / 1000


def need(*programs: str, root: bool = False) -> None:
    """Exit 3 with the remedy where this host cannot run the contest."""
    if root and os.geteuid() != 0:
        sys.exit(_lacks("this loads BPF programs and makes namespaces: run it as root"))
    if missing := [program for program in programs if shutil.which(program) is None]:
        sys.exit(_lacks(f"not installed: {', '.join(missing)} (bench/README.md says how)"))


def _lacks(why: str) -> int:
    print(why, file=sys.stderr)
    return HOST_LACKS


def program_version(*argv: str) -> str:
    """The first number-like word that a program says of itself."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "missing"
    words = (done.stdout + done.stderr).replace(",", " ").split()
    return next((w.strip("v()") for w in words if w.strip("v(")[:1].isdigit()), "unknown")


def package_version(name: str) -> str:
    """The version of an installed Python package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """This process runs on one core meanwhile, as do those it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} if core in before else before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _text(table: Table) -> str:
    head = (table.title, f"median {table.unit}", "low", "high", "x peer", "peer")
    lines = [head]
    for row in table.rows:
        lines.append((
            row.name,
            _figure(row.median),
            _figure(min(row.values)),
            _figure(max(row.values)),
            _figure(row.ratio) if row.ratio is not None else "",
            row.peer or "",
        ))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    shown = [
        "| " + " | ".join(
            cell.ljust(width) if i in (0, 5) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ) + " |"
        for line in lines
    ]
    rule = "|" + "|".join(
        "-" * (width + 2) if i in (0, 5) else "-" * (width + 1) + ":"
        for i, width in enumerate(widths)
    ) + "|"
    return "\n".join([shown[0], rule, *shown[1:], *table.notes])


def _figure(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def busy_seconds() -> float:
    """What all cores have worked since the machine started: everybody's work, in hooks and
    interrupts too.
    """
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _wait, irq, softirq, _steal = map(int, words)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _cpu_ticks() -> tuple[int, int]:
    """What other guests of this machine took, and all there was."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    ticks = [int(word) for word in words]
    return ticks[7], sum(ticks)


def _dnsfw_version() -> str:
    import dnsfw

    where = Path(dnsfw.__file__).resolve()
    source = "checkout" if ROOT in where.parents and ".venv" not in where.parts else "wheel"
    return f"{dnsfw.__version__} ({source})"
