"""`dnsfw check`: every error of a policy file at once, and its warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dnsfw.cli.render import counts, json_option, print_json
from dnsfw.errors import ConfigError, PolicyError
from dnsfw.model import Verdict
from dnsfw.policy.compile import find_policy, load
from dnsfw.policy.policy import Policy


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1)
@json_option
@click.pass_context
def check(ctx: click.Context, files: tuple[str, ...], as_json: bool) -> None:
    """Check policy files: all errors at once, with line, column and remedy.

    Without FILE the policy that `up` would use is checked. Warnings (rules that
    never decide, denials that swallow everything) do not fail the check.

    Exit status: 0 all good, 1 a policy is wrong, 2 a file cannot be read.
    """
    worst = 0
    rows = []
    for path in [Path(file) for file in files] or [find_policy()]:
        status, row = _check(path)
        worst = max(worst, status)
        rows.append(row)
        if not as_json:
            _show(row)
    if as_json:
        print_json(rows)
    ctx.exit(worst)


def _check(path: Path) -> tuple[int, dict[str, Any]]:
    row: dict[str, Any] = {"file": str(path), "ok": False, "errors": [], "warnings": []}
    try:
        policy = load(path)
    except PolicyError as error:
        row["errors"] = str(error).splitlines()
        return 1, row
    except ConfigError as error:
        row["errors"] = [str(error)]
        return 2, row
    row["ok"] = True
    row["warnings"] = [str(warning) for warning in policy.warnings]
    row.update(_counts(policy))
    return 0, row


def _counts(policy: Policy) -> dict[str, Any]:
    host = policy.host
    allows = sum(rule.verdict is Verdict.ALLOW for rule in host.rules)
    return {
        "default": host.default.name.lower(),
        "mode": host.mode.name.lower(),
        "allow_rules": allows,
        "deny_rules": len(host.rules) - allows,
    }


def _show(row: dict[str, Any]) -> None:
    for error in row["errors"]:
        click.echo(error, err=True)
    for warning in row["warnings"]:
        place, _, message = warning.partition(": ")
        click.echo(f"{place}: warning: {message}", err=True)
    if row["ok"]:
        click.echo(
            f"{row['file']}: ok: default {row['default']}, {row['allow_rules']} allow, "
            f"{row['deny_rules']} deny"
        )
    else:
        click.echo(f"{row['file']}: {counts(len(row['errors']), 'error')}", err=True)
