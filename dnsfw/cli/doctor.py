"""`dnsfw doctor`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dnsfw.cli.client import Client, run_dir_option
from dnsfw.cli.render import json_option, print_json
from dnsfw.cli.upstream_view import upstream_checks
from dnsfw.errors import DnsfwError

if TYPE_CHECKING:
    from dnsfw.datapath.doctor import Check

_HOST = 3
_WIDTH = 80
_INDENT = "     "
_MARKS = {"ok": "ok  ", "warn": "weak", "fail": "NO  "}


@click.command("doctor", short_help="What this host can and cannot do.")
@json_option
@run_dir_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, run_dir: str | None) -> None:
    """What this host can and cannot do for dnsfw, and how to mend it.

    Exit 3 when nothing could be enforced here; 0 when only some promise is weaker.
    """
    from dnsfw.datapath.doctor import examine  # BPF system calls: not for `--help`

    state = _state(run_dir)
    checks = (
        *examine(tuple(state.get("listen", ()))),
        *upstream_checks(state.get("upstream_rows", [])),
    )
    if as_json:
        print_json([
            {
                "name": c.name, "level": c.level, "ok": c.ok, "vital": c.vital,
                "detail": c.detail, "lost": c.lost, "remedy": c.remedy,
            }
            for c in checks
        ])  # fmt: skip
    else:
        for check in checks:
            click.echo("\n".join(_lines(check)))
    ctx.exit(_HOST if any(check.vital and not check.ok for check in checks) else 0)


def _state(run_dir: str | None) -> dict[str, Any]:
    """Of a daemon that runs here; without one any loopback address may be where it answers."""
    try:
        return Client(run_dir).ask("status")
    except DnsfwError:
        return {}


def _lines(check: Check) -> Iterator[str]:
    yield from _wrap(f"{_MARKS[check.level]} {check.name}: {check.detail}", "")
    if not check.ok:
        if check.lost:
            yield from _wrap(f"without it: {check.lost}", _INDENT)
        if check.remedy:
            yield from _wrap(f"remedy: {check.remedy}", _INDENT)


def _wrap(text: str, lead: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=lead, subsequent_indent=_INDENT)
