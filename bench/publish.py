"""What a run found, as pages: tables, plots (SVG) and how far each aim was met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aims import AIMS

Results = Mapping[str, Mapping[str, Any]]

_BAR, _GAP, _LABEL, _WIDTH, _RIGHT = 18, 8, 210, 420, 150
_COLOURS = {"dnsfw": "#1b6ca8", "peer": "#9aa5b1"}
_PLOTS = {  # file -> (question, start of the table's title)
    "lo-latency": ("answers", "lo, one at a time, server on its own core: p50"),
    "veth-latency": ("answers", "veth, one at a time, on one core: p50"),
    "veth-one-core": ("answers", "veth, everything on one core: answers"),
    "capacity": ("capacity", "queries made in the kernel: answers"),
    "refusals": ("refusals", "veth, everything on one core: refusals"),
    "cold": ("cold", "fresh names, a core for the server: look-ups"),
    "packet": ("packet", "what that adds to a send, 1,000,000 open"),
    "memory": ("start", "a million names: memory"),
}


def write(results: Results, out: Path) -> None:
    """results/README.md and the plots beside it."""
    lines = ["# The last run", "", *_machine(results), "", "## Aims", "", *_aims(results), ""]
    for name, (question, title) in _PLOTS.items():
        table = _table(results, question, title)
        if table is not None:
            (out / f"{name}.svg").write_text(_svg(table))
            lines += [f"![{table['title']}]({name}.svg)", ""]
    for question, one in results.items():
        lines += [f"## {question}", ""]
        for table in one["tables"]:
            lines += [*_rows(table), ""]
    (out / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def _machine(results: Results) -> Iterator[str]:
    known: dict[str, str] = {}
    for one in results.values():
        known |= {key: str(value) for key, value in one["machine"].items()}
    quiet = ("load_before", "steal_percent")
    yield ", ".join(f"{key} {value}" for key, value in known.items() if key not in quiet) + "."
    loads = [one["machine"]["load_before"] for one in results.values()]
    steals = [one["machine"]["steal_percent"] for one in results.values()]
    yield ""
    yield (f"Load before a program: {min(loads)} to {max(loads)}; time stolen by other guests: up "
           f"to {max(steals)} %.")


def _aims(results: Results) -> Iterator[str]:
    yield "| what | aim | measured | |"
    yield "|---|---|---|---|"
    for aim in AIMS:
        try:
            found = aim.measure(results)
        except (KeyError, StopIteration, IndexError, ZeroDivisionError):
            yield f"| {aim.what} | {aim.aim} | not measured in this run | |"
            continue
        yield f"| {aim.what} | {aim.aim} | {found.text} | {'met' if found.met else '**not met**'} |"


def _table(results: Results, question: str, title: str) -> Mapping[str, Any] | None:
    tables = results.get(question, {}).get("tables", ())
    return next((table for table in tables if table["title"].startswith(title)), None)


def _rows(table: Mapping[str, Any]) -> Iterator[str]:
    refused = " **refused: the machine was too restless**" if table.get("refused") else ""
    drift = f"; against itself x {table['drift']:.2f}" if table.get("drift") else ""
    yield f"**{table['title']}**, {table['unit']}{drift}{refused}"
    yield ""
    yield "| | median | low | high | times better than | |"
    yield "|---|---:|---:|---:|---:|---|"
    for row in table["rows"]:
        ratio = "" if row["times_better"] is None else figure(row["times_better"])
        peer = row["peer"] or "" if ratio else ""
        cells = (row["name"], figure(row["median"]), figure(row["low"]), figure(row["high"]))
        yield f"| {' | '.join(cells)} | {ratio} | {peer} |"
    for note in table.get("notes", ()):
        yield ""
        yield note


def figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _svg(table: Mapping[str, Any]) -> str:
    """Bars, the longest first where more is better."""
    rows: Sequence[Mapping[str, Any]] = table["rows"]
    most = max((row["median"] for row in rows), default=0) or 1
    height = 40 + len(rows) * (_BAR + _GAP) + 10
    width = _LABEL + _WIDTH + _RIGHT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="22" font-size="14" font-weight="bold">{_escaped(table["title"])}, '
        f'{_escaped(table["unit"])}</text>',
    ]
    for number, row in enumerate(rows):
        y = 40 + number * (_BAR + _GAP)
        long = max(row["median"], 0) / most * _WIDTH
        high = min(row["high"] / most, 1.2) * _WIDTH
        colour = _COLOURS["dnsfw" if row["name"].startswith("dnsfw") else "peer"]
        out += [
            f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{_escaped(row["name"])}</text>',
            f'<rect x="{_LABEL}" y="{y}" width="{max(long, 1):.1f}" height="{_BAR}" '
            f'fill="{colour}"/>',
            f'<line x1="{_LABEL + max(row["low"], 0) / most * _WIDTH:.1f}" y1="{y + _BAR / 2}" '
            f'x2="{_LABEL + high:.1f}" y2="{y + _BAR / 2}" '
            'stroke="#333"/>',
            f'<text x="{_LABEL + max(long, high) + 8:.1f}" y="{y + 13}">'
            f'{figure(row["median"])}</text>',
        ]
    return "\n".join([*out, "</svg>"]) + "\n"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
