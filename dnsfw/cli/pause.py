"""`dnsfw pause`."""

from __future__ import annotations

import click

from dnsfw.cli.allow import change
from dnsfw.cli.client import run_dir_option
from dnsfw.cli.render import json_option


@click.command("pause", short_help="Refuse nothing for a time.")
@click.option("--for", "time", metavar="TIME", help="How long: 90s, 10m, 1h, at most 7d.")
@click.option("--reason", metavar="TEXT", help="Why: everybody who looks will read it.")
@click.option("--role", metavar="ROLE", help="Only of this role.  [default: all]")
@click.option("--end", is_flag=True, help="Refuse again, now.")
@json_option
@run_dir_option
def pause(
    time: str | None, reason: str | None, role: str | None, end: bool, as_json: bool,
    run_dir: str | None,
) -> None:  # fmt: skip
    """Refuse nothing for a time: judge, and say what would have been refused.

    As long as it lasts the first line of `dnsfw status` says so, and it exits 3 with
    `--require-enforcing`. It ends on time, also over a restart of the daemon. Where the
    policy says `locked: true` it is refused.

    \b
    Examples:
      dnsfw pause --for 5m --reason "is it the firewall?"
      dnsfw pause --end
    """
    change("pause", (), time, role, reason, end, as_json, run_dir)
