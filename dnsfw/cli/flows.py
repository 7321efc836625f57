"""`dnsfw flows`."""

from __future__ import annotations

from typing import Any

import click

from dnsfw.cli.client import Client, role_option, run_dir_option
from dnsfw.cli.render import counts, duration, json_option, print_json, table

_LOOPBACK = "loopback"  # leaves nothing, and would drown what does


@click.command("flows", short_help="Conversations that were allowed.")
@role_option
@json_option
@run_dir_option
def flows(role: str | None, as_json: bool, run_dir: str | None) -> None:
    """Conversations that were allowed when they began; they live by use, not by TTL."""
    rows = list(Client(run_dir).rows("flows", role=role))
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("no flows")
        return
    local = [row for row in rows if row["reason"] == _LOOPBACK]
    shown = [
        (
            row["role"],
            "<-" if row["direction"] == "in" else "->",
            _peer(row),
            row["state"],
            duration(row["age"]),
            duration(row["idle"]),
            " ".join(row["names"]) or f"({row['reason']})",
        )
        for row in rows
        if row["reason"] != _LOOPBACK
    ]
    if shown:
        click.echo(table(("ROLE", "", "PEER", "STATE", "AGE", "IDLE", "NAMES"), shown))
    within = f", and {len(local)} within this host: see --json" if local else ""
    click.echo(f"{counts(len(shown), 'flow')}{within}")


def _peer(row: dict[str, Any]) -> str:
    host = f"[{row['address']}]" if ":" in row["address"] else row["address"]
    port = row["local_port"] if row["direction"] == "in" else row["port"]
    return f"{host}:{port}/{row['protocol']}" if port else f"{host}/{row['protocol']}"
