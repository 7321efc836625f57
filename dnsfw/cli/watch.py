"""`dnsfw watch`."""

from __future__ import annotations

import json
import time

import click

from dnsfw.cli.client import Client, role_option, run_dir_option
from dnsfw.cli.render import json_option
from dnsfw.server.reporter import describe


@click.command("watch", short_help="What is refused, as it happens.")
@role_option
@json_option
@run_dir_option
def watch(role: str | None, as_json: bool, run_dir: str | None) -> None:
    """What is refused, as it happens, with the last names of the address. Ctrl-C ends it.

    With --json one object a line: `dnsfw explain --event ID` says more of its `id`;
    `place` and `rule_id` are the line and the id of the rule that decided.
    """
    try:
        for row in Client(run_dir).rows("watch", forever=True, role=role):
            if row["kind"] == "watching":
                continue
            if as_json:
                click.echo(json.dumps(row))
            else:
                at = time.strftime("%H:%M:%S", time.localtime(row.get("at")))
                click.echo(f"{at} {describe(row)}")
    except KeyboardInterrupt:
        return
