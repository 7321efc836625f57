"""`dnsfw check`: every error of a policy file at once, and its warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dnsfw.cli.absent import absent
from dnsfw.cli.list_view import list_json, list_lines
from dnsfw.cli.remote_view import fetch_for, remote_json, remote_line
from dnsfw.cli.render import counts, json_option, print_json
from dnsfw.cli.role_view import role_json, role_line
from dnsfw.cli.stdin_policy import STDIN, stdin_policy
from dnsfw.errors import ConfigError, PolicyError
from dnsfw.model import HOST
from dnsfw.policy.compile import find_policy, load
from dnsfw.policy.policy import Policy
from dnsfw.policy.remote import url_of


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option(
    "--fetch", is_flag=True,
    help="Fetch first what the files take from https; without it the copies on disk are read.",
)  # fmt: skip
@json_option
@click.pass_context
def check(ctx: click.Context, files: tuple[str, ...], fetch: bool, as_json: bool) -> None:
    """Check policy files: all errors at once, with line, column and remedy.

    Without FILE the policy that `up` would use is checked, and its `tests:` are run.
    Warnings (rules that never decide, denials that swallow everything) do not fail the
    check; nor do notes on users, units and interfaces that this host has not.

    FILE may be - for stdin, or a URL. What comes over https is read from its copy: root's
    are those that the daemon uses, and `sudo dnsfw check --fetch` makes them before the
    first start.

    Exit status: 0 all good, 1 a policy is wrong or --fetch failed for something, 2 a file
    cannot be read.
    """
    worst = 0
    rows = []
    for path in [find_policy(file) for file in files or [None]]:
        status, row, policy = _check(path, fetch)
        worst = max(worst, status)
        rows.append(row)
        if not as_json:
            _show(row, policy)
    if as_json:
        print_json(rows)
    ctx.exit(worst)


def _check(path: Path, fetch: bool) -> tuple[int, dict[str, Any], Policy | None]:
    row: dict[str, Any] = {
        "file": url_of(path) or str(path), "ok": False, "errors": [], "warnings": [], "notes": [],
        "failed": [],
    }  # fmt: skip
    try:
        missed = fetch_for(path) if fetch and str(path) != STDIN else []
        policy = stdin_policy() if str(path) == STDIN else load(path)
        _tested(policy)
    except PolicyError as error:
        row["errors"] = str(error).splitlines()
        return 1, row, None
    except ConfigError as error:
        row["errors"] = [str(error)]
        return 2, row, None
    row["sources"] = list(policy.sources)
    host = role_json(policy, policy.host)
    row["ok"] = True
    row["failed"] = missed
    row["warnings"] = [*missed, *(str(warning) for warning in policy.warnings)]
    row["notes"] = [*_imported(policy), *absent(policy)]
    row.update({key: host[key] for key in ("default", "mode", "allow_rules", "deny_rules")})
    row["roles"] = [role_json(policy, role) for role in policy.roles.values()]
    row["remotes"] = [remote_json(source) for source in policy.remotes]
    row["lists"] = [list_json(role, one) for role in policy.roles.values() for one in role.lists]
    return 1 if missed else 0, row, policy


def _tested(policy: Policy) -> None:
    """Its own tests: `up` and `reload` refuse a policy that fails one. PolicyError, a line each."""
    if policy.tests:
        from dnsfw.engine.cases import require_tests  # with the engine; few policies need it

        require_tests(policy)


def _imported(policy: Policy) -> list[str]:
    """Of another tool's file the lines are those of what it means, which nobody has seen."""
    tail = " (imported)"
    files = [file.removesuffix(tail) for file in policy.sources if file.endswith(tail)]
    told = "places are lines of what it means here, which 'dnsfw import"
    return [f"{file}: {told} {file}' prints" for file in files]


def _show(row: dict[str, Any], policy: Policy | None) -> None:
    for error in row["errors"]:
        click.echo(error, err=True)
    for kind in ("warning", "note"):
        for told in row[f"{kind}s"]:
            place, _, message = told.partition(": ")
            click.echo(f"{place}: {kind}: {message}", err=True)
    if policy is None:
        click.echo(f"{row['file']}: {counts(len(row['errors']), 'error')}", err=True)
        return
    click.echo(f"{row['file']}: ok: {role_line(policy, policy.host)}")
    for source in policy.sources[1:]:
        click.echo(f"  then {source}")
    for remote in row["remotes"]:
        click.echo(f"  {remote_line(remote)}")
    for role in policy.roles.values():
        if role.role != HOST:
            click.echo(f"  role {role.name}: {role_line(policy, role)}")
        for names in role.lists:
            for line in list_lines(names):
                click.echo(f"  {line}")
