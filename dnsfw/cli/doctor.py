"""`dnsfw doctor`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dnsfw.cli.render import json_option, print_json

if TYPE_CHECKING:
    from dnsfw.datapath.doctor import Check

_HOST = 3
_WIDTH = 80
_INDENT = "     "


@click.command("doctor", short_help="What this host can and cannot do.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """What this host can and cannot do for dnsfw, and how to mend it.

    Exit 3 when nothing could be enforced here; 0 when only some promise is weaker.
    """
    from dnsfw.datapath.doctor import examine  # BPF system calls: not for `--help`

    checks = examine()
    if as_json:
        print_json([
            {
                "name": c.name, "ok": c.ok, "vital": c.vital,
                "detail": c.detail, "lost": c.lost, "remedy": c.remedy,
            }
            for c in checks
        ])  # fmt: skip
    else:
        for check in checks:
            click.echo("\n".join(_lines(check)))
    ctx.exit(_HOST if any(check.vital and not check.ok for check in checks) else 0)


def _lines(check: Check) -> Iterator[str]:
    mark = "ok  " if check.ok else "NO  " if check.vital else "weak"
    yield from _wrap(f"{mark} {check.name}: {check.detail}", "")
    if not check.ok:
        if check.lost:
            yield from _wrap(f"without it: {check.lost}", _INDENT)
        if check.remedy:
            yield from _wrap(f"remedy: {check.remedy}", _INDENT)


def _wrap(text: str, lead: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=lead, subsequent_indent=_INDENT)
