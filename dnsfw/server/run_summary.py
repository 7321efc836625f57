"""What a run says at its end, and its report file.

The report (`--report`), JSON or YAML with the same keys:

    report: 1                 of the format
    mode: enforce | audit     under audit nothing was refused, whatever stands below
    policy, default           where the rules came from, and what no rule names
    command, exit             the command's words, and its exit status
    started, ended            seconds since 1970
    packets                   {allowed, denied, audited, unseen}: unseen ones had no event
    kernel_answers            {answered, refused}: what the kernel said again, of --net private
    rows_left_out             observations for which there was no room
    observed                  rows: role, verdict, name, addresses, port, protocol, reason,
                              rule, count, first, last, pid, command, sent (`dnsfw learn`
                              reads them)

Names and commands are escaped as `dnsfw watch` shows them: \\DDD for what is no plain text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Any

from dnsfw.errors import DatapathError
from dnsfw.policy.learn import destinations, learn
from dnsfw.server.escape import safe
from dnsfw.values import dataclass

__all__ = ["Outcome", "report_text", "summary", "write_report"]

_ROWS_SHOWN = 20
_RULES_SHOWN = 20
_WIDEST = 44  # columns for what was refused; longer ones push the rest to the right


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run went."""

    command: tuple[str, ...]
    status: int
    mode: str  # enforce | audit
    policy: str
    default: str
    started: float
    ended: float
    rows: Sequence[Mapping[str, Any]] = ()
    left_out: int = 0
    packets: Mapping[str, int] = field(default_factory=dict)
    remarks: Sequence[str] = ()  # tampering, trouble with the host
    kernel_answers: Mapping[str, int] = field(default_factory=dict)

    @property
    def audit(self) -> bool:
        return self.mode == "audit"


def summary(outcome: Outcome, *, verbose: bool = False) -> list[str]:
    """The lines for stderr: nothing where nothing was refused, unless it must be said."""
    lines = [f"dnsfw: {safe(remark)}" for remark in outcome.remarks]
    rows = sorted(outcome.rows, key=lambda row: (row["first"], -row["count"]))
    if not rows:
        if outcome.audit:
            lines.append("dnsfw: AUDIT: nothing was enforced; nothing would have been refused")
        elif verbose:
            lines.append(f"dnsfw: nothing was refused by {safe(outcome.policy)}")
        return lines + _counts(outcome, verbose)
    total = sum(row["count"] for row in rows)
    times = "once" if total == 1 else f"{total} times"
    if outcome.audit:
        lines.append(f"dnsfw: AUDIT: nothing was enforced; would have refused {times}:")
    else:
        lines.append(f"dnsfw: refused {times}:")
    lines += _table(rows[:_ROWS_SHOWN])
    more = len(rows) - _ROWS_SHOWN + outcome.left_out
    if more > 0:
        lines.append(f"  and {more} more; --report FILE keeps {len(rows)} of them")
    return [*lines, *_remedy(rows), *_counts(outcome, verbose)]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [(f"{row['count']}x", _target(row), _why(row), _who(row)) for row in rows]
    widths = [min(max(len(cell[n]) for cell in cells), _WIDEST) for n in range(3)]
    return [
        "  " + "  ".join([*(c.ljust(w) for c, w in zip(cell, widths, strict=False)), cell[3]])
        for cell in cells
    ]


def _target(row: Mapping[str, Any]) -> str:
    """`name:443/tcp (address)`, `address:443/tcp`, `name`."""
    address = next(iter(row["addresses"]), "")
    port = f":{row['port']}" if row["port"] else ""
    protocol = f"/{row['protocol']}" if row["protocol"] else ""
    if row["name"]:
        shown = f" ({address})" if address else ""
        return f"{row['name']}{port}{protocol}{shown}"
    host = f"[{address}]" if ":" in address else address
    return f"{host}{port}{protocol}"


def _why(row: Mapping[str, Any]) -> str:
    return f"{row['reason']}: {row['rule']}" if row["rule"] else str(row["reason"])


def _who(row: Mapping[str, Any]) -> str:
    if not row["command"]:
        return ""
    return f"{row['command']}[{row['pid']}]" if row["pid"] else str(row["command"])


def _remedy(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rules that would allow it; nothing of what a rule refused on purpose."""
    learned = learn(rows)
    lessons = [*learned.lessons, *learned.unported]
    found = [(text, lesson.private) for lesson in lessons for text in destinations(lesson)]
    if not found:
        return []
    shown = found[:_RULES_SHOWN]
    options = [f"--allow {_shell(text)}" for text, private in shown if not private]
    lines = ["to allow it:", *_wrapped(options)] if options else []
    lines.append("or in a policy file:" if options else "to allow it, in a policy file:")
    for text, private in shown:
        allow = f"allow: {json.dumps(text) if not text[0].isalnum() else text}"
        lines.append(f"  - {{{allow}, private: true}}" if private else f"  - {allow}")
    if len(found) > len(shown):
        lines.append(f"  and {len(found) - len(shown)} more: `dnsfw learn --report FILE`")
    return lines


def _wrapped(options: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for option in options:
        if lines and len(lines[-1]) + len(option) < 78:
            lines[-1] += f" {option}"
        else:
            lines.append(f"  {option}")
    return lines


def _shell(text: str) -> str:
    return text if all(c.isalnum() or c in ".:/,_-" for c in text) else f"'{text}'"


def _counts(outcome: Outcome, verbose: bool) -> list[str]:
    if not verbose:
        return []
    packets = outcome.packets
    parts = [f"{packets.get(key, 0)} {key}" for key in ("allowed", "denied", "audited")]
    return [f"dnsfw: packets and connections: {', '.join(parts)}"]


def report_text(outcome: Outcome, form: str) -> str:
    """The report, in `json` or `yaml`."""
    report = {
        "report": 1,
        "mode": outcome.mode,
        "policy": safe(outcome.policy),
        "default": outcome.default,
        "command": [safe(os.fsencode(word)) for word in outcome.command],
        "exit": outcome.status,
        "started": int(outcome.started),
        "ended": int(outcome.ended),
        "packets": dict(outcome.packets),
        "kernel_answers": dict(outcome.kernel_answers),
        "rows_left_out": outcome.left_out,
        "remarks": [safe(remark) for remark in outcome.remarks],
        "observed": [dict(row) for row in outcome.rows],
    }
    return json.dumps(report, indent=2) + "\n" if form == "json" else _yaml(report)


def _yaml(report: Mapping[str, Any]) -> str:
    """Block style for the top and for rows; JSON, which is YAML, for what is in them."""
    lines = []
    for key, value in report.items():
        if key != "observed" or not value:
            lines.append(f"{key}: {json.dumps(value)}")
            continue
        lines.append("observed:")
        for row in value:
            for number, (name, cell) in enumerate(row.items()):
                lines.append(f"{'    ' if number else '  - '}{name}: {json.dumps(cell)}")
    return "\n".join(lines) + "\n"


def write_report(outcome: Outcome, path: str, form: str) -> None:
    """Whole or not at all. DatapathError says why it could not be."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        # O_EXCL: in a directory of others nobody has put a link there for us to follow.
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(fd, "w") as file:
            file.write(report_text(outcome, form))
        partial.replace(target)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise DatapathError(f"--report {path}: {error.strerror or error}") from None
