"""`dnsfw grants`."""

from __future__ import annotations

import click

from dnsfw.cli.client import Client, role_option, run_dir_option
from dnsfw.cli.render import counts, duration, json_option, print_json, table


@click.command("grants", short_help="Which addresses are open or closed now, and why.")
@role_option
@json_option
@run_dir_option
def grants(role: str | None, as_json: bool, run_dir: str | None) -> None:
    """Which addresses are open or closed now, by which name and rule, and until when."""
    rows = list(Client(run_dir).rows("grants", role=role))
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("no grants: nobody has asked for a name that opens one")
        return
    head = ("ROLE", "ADDRESS", "OPEN", "FOR", "NAMES")
    shown = [
        (
            row["role"],
            row["address"],
            row["ports"] if row["verdict"] == "allow" else f"not {row['ports']}",
            duration(row["seconds"]),
            " ".join(row["names"]) + (f"  by {row['rule']}" if row["rule"] else ""),
        )
        for row in rows
    ]
    click.echo(table(head, shown))
    click.echo(counts(len(rows), "grant"))
