"""What commands print: tables that fit a terminal, durations, JSON.

Everything that others chose (names, command names) comes escaped from the daemon.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from dnsfw.errors import ConfigError

__all__ = ["counts", "duration", "json_option", "print_json", "seconds_of", "table"]

WIDTH = 80
_GAP = "  "
_CUT = "…"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--json, for every command that shows something."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], width: int | None = None) -> str:
    """Columns as wide as they need; on a terminal the last one is cut to fit."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    room = _room(width)
    return "\n".join(_line(line, widths, room) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int], room: int | None) -> str:
    start = _GAP.join(cell.ljust(wide) for cell, wide in zip(cells, widths, strict=False))
    line = f"{start}{_GAP}{cells[-1]}" if widths else cells[-1]
    if room is not None and len(line) > room:
        line = line[: room - len(_CUT)] + _CUT
    return line.rstrip()


def _room(width: int | None) -> int | None:
    """A pipe gets whole lines: whoever cuts them there knows why."""
    if width is not None or not sys.stdout.isatty():
        return width
    return max(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)


def duration(seconds: float) -> str:
    """`42s`, `3m05s`, `2h07m`, `5d03h`: two units at most."""
    whole = int(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= size:
            below, smaller = {"d": ("h", 3600), "h": ("m", 60), "m": ("s", 1)}[unit]
            return f"{whole // size}{unit}{whole % size // smaller:02d}{below}"
    return f"{whole}s"


def seconds_of(text: str) -> float:
    """`60s`, `5m`, `1h`, or bare seconds. ConfigError."""
    found = re.fullmatch(r"(\d{1,6})([smhd]?)", text.strip())
    if found is None or int(found[1]) == 0:
        raise ConfigError(f"{text!r} is not a time; write 60s, 5m or 1h")
    return int(found[1]) * _UNITS[found[2] or "s"]


def counts(number: int, one: str, many: str | None = None) -> str:
    """`1 grant`, `3 grants`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
