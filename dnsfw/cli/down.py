"""`dnsfw down`: nothing of dnsfw stays in the kernel, whether or not a daemon runs."""

from __future__ import annotations

import click

from dnsfw.cli.client import Client, NoDaemon, run_dir_option
from dnsfw.server.options import run_dir as run_dir_of


@click.command("down", short_help="Remove everything dnsfw put into the kernel.")
@run_dir_option
def down(run_dir: str | None) -> None:
    """Remove everything dnsfw put into the kernel, and end the daemon if it runs.

    Works also after the daemon has stopped or crashed and left its wall up. Temporary
    rules end with it. What stays on disk (copies of lists, the log) is named.
    """
    try:
        kept = Client(run_dir).ask("down").get("kept", [])
    except NoDaemon:
        from dnsfw.policy.compile_log import LogSettings
        from dnsfw.server.removal import kept_on_disk, remove_left_overs

        removed = remove_left_overs(run_dir_of(run_dir))
        kept = kept_on_disk(run_dir_of(run_dir), LogSettings())
        click.echo("removed the wall that a daemon left" if removed else "nothing to remove")
    else:
        click.echo("removed: nothing of dnsfw is left in the kernel")
    for place in kept:
        click.echo(f"kept on disk: {place}")
