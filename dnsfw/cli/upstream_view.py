"""Upstreams for people: a line each in `status`, a finding each in `doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dnsfw.cli.render import counts, duration

if TYPE_CHECKING:
    from dnsfw.datapath.checks import Check

__all__ = ["upstream_checks", "upstream_lines"]


def upstream_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """`tls://9.9.9.9#dns.quad9.net: 12.3 ms, 2 connections (1 opened, 40 reused)`."""
    for row in rows:
        yield f"{row['server']}: {', '.join(_said(row))}"


def upstream_checks(rows: list[dict[str, Any]]) -> Iterator[Check]:
    """What `doctor` says of them while a daemon runs."""
    from dnsfw.datapath.checks import Check

    for row in rows:
        resting = row["rests_seconds"] > 0
        silent = not row["answered"] and (row["asked"] or row["silent_at_start"])
        told = ", ".join(_said(row))
        why = f" ({row['last_error']})" if row["last_error"] and (resting or silent) else ""
        yield Check(
            f"upstream {row['server']}",
            not resting and not silent,
            told + why,
            "look at the way there, or name another with dns.upstreams",
            "answers come later, or from fewer servers",
        )


def _said(row: dict[str, Any]) -> Iterator[str]:
    if row["latency_ms"] is not None:
        yield f"{row['latency_ms']:g} ms"
    elif row["asked"]:
        yield "no answer yet"
    elif row["silent_at_start"]:
        yield "does not answer (asked once, at the start)"
    else:
        yield "not asked yet"
    if row["failures"]:
        yield counts(row["failures"], "failure")
    if row["rests_seconds"]:
        yield f"RESTS for {duration(max(1, row['rests_seconds']))}"
    if row["opened"]:
        more = f", {row['resumed']} resumed" if row["resumed"] else ""
        broken = f", {row['broken']} broken" if row["broken"] else ""
        often = f"{row['opened']} opened, used again {counts(row['reused'], 'time')}"
        yield f"{counts(row['connections'], 'connection')} ({often}{more}{broken})"
