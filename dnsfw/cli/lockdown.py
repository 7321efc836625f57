"""`dnsfw lockdown`."""

from __future__ import annotations

import click

from dnsfw.cli.client import Client, run_dir_option
from dnsfw.cli.render import json_option, print_json
from dnsfw.errors import ConfigError


@click.command("lockdown", short_help="Let nothing out, or end that.")
@click.argument("state", type=click.Choice(["on", "off"]))
@click.option("--hard", is_flag=True, help="Cut replies to accepted connections too (your ssh!).")
@json_option
@run_dir_option
def lockdown(state: str, hard: bool, as_json: bool, run_dir: str | None) -> None:
    """Let nothing out but loopback and replies to accepted TCP; flows are cut at once.

    Queries are refused and dnsfw itself is silent. It lasts until `lockdown off`, over
    restarts too.
    """
    if hard and state == "off":
        raise ConfigError("--hard goes with `lockdown on`")
    done = Client(run_dir).ask("lockdown", state="hard" if hard else state)
    if as_json:
        print_json({"lockdown": done["lockdown"]})
    else:
        click.echo(f"lockdown is {done['lockdown']}")
