"""`dnsfw confirm`."""

from __future__ import annotations

import click

from dnsfw.cli.client import Client, run_dir_option


@click.command("confirm", short_help="Keep what `up --try` started.")
@run_dir_option
def confirm(run_dir: str | None) -> None:
    """Keep what `up --try` started: it will not undo itself any more."""
    Client(run_dir).ask("confirm")
    click.echo("confirmed: the wall stays")
