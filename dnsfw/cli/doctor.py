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


@click.command("doctor", short_help="What this host can and cannot do.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """What this host can and cannot do for dnsfw, and how to mend it. Exit 3: it cannot."""
    from dnsfw.datapath.doctor import examine  # BPF system calls: not for `--help`

    checks = examine()
    if as_json:
        print_json([
            {"name": c.name, "ok": c.ok, "detail": c.detail, "remedy": c.remedy} for c in checks
        ])  # fmt: skip
    else:
        for check in checks:
            click.echo("\n".join(_lines(check)))
    ctx.exit(0 if all(check.ok for check in checks) else _HOST)


def _lines(check: Check) -> Iterator[str]:
    yield from textwrap.wrap(
        f"{'ok ' if check.ok else 'NO '} {check.name}: {check.detail}",
        _WIDTH,
        subsequent_indent="    ",
    )
    if not check.ok and check.remedy:
        yield from textwrap.wrap(
            f"remedy: {check.remedy}", _WIDTH, initial_indent="    ", subsequent_indent="    "
        )
