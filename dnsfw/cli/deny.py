"""`dnsfw deny`."""

from __future__ import annotations

import click

from dnsfw.cli.allow import change, time_options


@click.command("deny", short_help="Deny a destination for a time.")
@click.argument("destinations", metavar="[DESTINATION]...", nargs=-1)
@time_options
def deny(
    destinations: tuple[str, ...], time: str | None, role: str | None, reason: str | None,
    end: bool, as_json: bool, run_dir: str | None,
) -> None:  # fmt: skip
    """Deny destinations for a time, on top of the policy.

    Conversations that it refuses are cut when this returns. The rest is as `dnsfw allow`
    has it.

    \b
    Examples:
      dnsfw deny .example.com --for 1h --reason "it is down, do not hammer it"
      dnsfw deny --end .example.com
    """
    change("deny", destinations, time, role, reason, end, as_json, run_dir)
