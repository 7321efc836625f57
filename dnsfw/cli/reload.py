"""`dnsfw reload`."""

from __future__ import annotations

import click

from dnsfw.cli.client import Client, run_dir_option
from dnsfw.cli.render import counts, json_option, print_json
from dnsfw.errors import ConfigError, PolicyError

_PATIENCE = 900.0  # seconds: downloads have two minutes each, and lists of a million names


@click.command("reload", short_help="Put the policy file in force and print what changes.")
@click.option(
    "--fetch", is_flag=True, help="Look for newer content of everything that comes over https."
)
@json_option
@run_dir_option
@click.pass_context
def reload(ctx: click.Context, fetch: bool, as_json: bool, run_dir: str | None) -> None:
    """Put the policy file in force and print what changes.

    A file with mistakes changes nothing: they are listed, the policy before it stays in
    force, and the exit code is 2. What the new policy refuses is closed and cut when this
    returns. A list or a policy at a URL that was not there before is fetched first; those
    that were are left to their timetable, unless you say --fetch. A file that says the
    same as before is `unchanged`.

    Exit status: 0 all done, 1 the file is in force but something was not fetched (what came
    last stays), 2 the file is wrong and nothing has changed, 3 no daemon.
    """
    try:
        done = Client(run_dir).ask("reload", patience=_PATIENCE, fetch=fetch)
    except ConfigError as error:
        kept = "nothing has changed: the policy before it stays in force"
        raise PolicyError(f"{error}\n{kept}") from None
    if as_json:
        print_json({key: done[key] for key in ("policy", "changes", "warnings", "failed")})
        ctx.exit(1 if done["failed"] else 0)
    for warning in done["warnings"]:
        click.echo(warning, err=True)
    for change in done["changes"]:
        click.echo(change)
    what = counts(len(done["changes"]), "change") if done["changes"] else "unchanged"
    click.echo(f"in force: {done['policy']} ({what})")
    if done["failed"]:
        click.echo(f"dnsfw: not fetched: {counts(len(done['failed']), 'source')}", err=True)
        ctx.exit(1)
