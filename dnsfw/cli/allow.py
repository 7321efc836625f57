"""`dnsfw allow`, and what `deny` and `pause` share with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dnsfw.cli.client import Client, run_dir_option
from dnsfw.cli.render import json_option, print_json, seconds_of
from dnsfw.errors import ConfigError

__all__ = ["allow", "change", "time_options"]


def time_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """For how long, for whom, why, and the end of it."""
    for option in (
        run_dir_option,
        json_option,
        click.option("--end", is_flag=True, help="End it now; alone: every one of its kind."),
        click.option("--reason", metavar="TEXT", help="Why, for whoever looks."),
        click.option("--role", metavar="ROLE", help="Of this role.  [default: host]"),
        click.option("--for", "time", metavar="TIME", help="How long: 90s, 10m, 1h, at most 7d."),
    ):
        command = option(command)
    return command


def change(
    word: str, to: tuple[str, ...], time: str | None, role: str | None, reason: str | None,
    end: bool, as_json: bool, run_dir: str | None,
) -> None:  # fmt: skip
    """Ask the daemon for it, and say what it did."""
    if end and time is not None:
        raise ConfigError("--end or --for, not both")
    if not end and time is None:
        raise ConfigError("for how long? say --for 10m")
    seconds = seconds_of(time) if time is not None else None
    done = Client(run_dir).ask(
        "temporary", word=word, to=list(to), seconds=seconds, role=role, reason=reason, end=end
    )
    if as_json:
        done.pop("ok")
        print_json(done)
        return
    for warning in done.get("warnings", ()):
        click.echo(warning, err=True)
    for text in done["temporary"]:
        click.echo(f"ended: {text}" if end else f"in force for {time}: {text}")


@click.command("allow", short_help="Allow a destination for a time.")
@click.argument("destinations", metavar="[DESTINATION]...", nargs=-1)
@time_options
def allow(
    destinations: tuple[str, ...], time: str | None, role: str | None, reason: str | None,
    end: bool, as_json: bool, run_dir: str | None,
) -> None:  # fmt: skip
    """Allow destinations for a time, on top of the policy.

    A DESTINATION is what stands after `allow:` in a policy. At equal rank it beats the
    policy's own rules; a rule that is more specific still decides, and you are told.
    `dnsfw status` lists what holds and for how long still. It ends on time, with every
    conversation that it alone allowed, also over a restart of the daemon. Where the
    policy says `locked: true` it is refused.

    \b
    Examples:
      dnsfw allow pypi.org:443 --for 1h
      dnsfw allow .example.com 10.1.2.0/24:22 --for 10m --role web
      dnsfw allow --end pypi.org:443
    """
    change("allow", destinations, time, role, reason, end, as_json, run_dir)
