"""`dnsfw learn`: the smallest policy for what was observed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dnsfw.cli.client import Client, run_dir_option
from dnsfw.cli.render import counts
from dnsfw.errors import ConfigError, PolicyError
from dnsfw.policy.learn import SIBLINGS, read_rows, render
from dnsfw.policy.learn import learn as learn_from

_HOST = "host"
_NONE = "none"  # of whom nobody knew who he is: there is nothing to learn for anybody
_LARGEST_REPORT = 64 << 20

Row = Mapping[str, Any]


@click.command("learn", short_help="The smallest policy for what was observed.")
@click.option(
    "--report", "reports", metavar="FILE", multiple=True,
    help="Learn from this report of `dnsfw run`. May be repeated.  [default: the daemon]",
)  # fmt: skip
@click.option("--role", metavar="NAME", default=_HOST, show_default=True, help="Of this role.")
@click.option("--output", "-o", metavar="FILE", help="Write it there; never over a file.")
@click.option(
    "--wildcard-from", metavar="N", type=click.IntRange(min=2), default=SIBLINGS,
    show_default=True, help="Propose a wildcard for so many names below one.",
)  # fmt: skip
@run_dir_option
def learn(
    reports: tuple[str, ...],
    role: str,
    output: str | None,
    wildcard_from: int,
    run_dir: str | None,
) -> None:
    """Turn what was refused, or audited, into the smallest policy that allows it.

    \b
    dnsfw run --audit --report seen.yaml -- ./build.sh
    dnsfw learn --report seen.yaml -o build-policy.yaml
    dnsfw check build-policy.yaml
    dnsfw run --policy build-policy.yaml -- ./build.sh

    Exact names with their ports, addresses that no name led to, and in comments
    when, how often and by which command; or, of a name that was only asked for, by
    what is known of the asker (unit and user). A wildcard is proposed in a comment,
    never written, and never at or above a public suffix. Read it before you use it:
    a program that was watched may have asked for what it wants to reach.
    """
    rows, source = _rows(reports, run_dir)
    mine = [row for row in rows if row.get("role", _HOST) == role]
    text = render(learn_from(mine, wildcard_from), _when, source)
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)
    others = [str(row.get("role")) for row in rows if row not in mine and row.get("role") != _NONE]
    if others:
        what = counts(len(others), "observation")
        told = ", ".join(sorted(set(others)))
        click.echo(f"dnsfw: {what} of other roles left out: {told}", err=True)


def _rows(reports: tuple[str, ...], run_dir: str | None) -> tuple[list[Row], str]:
    if not reports:
        return list(Client(run_dir).rows("observed")), "the daemon"
    rows: list[Row] = []
    for path in reports:
        rows += read_rows(_read(path), path)
    return rows, ", ".join(reports)


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LARGEST_REPORT + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    if len(data) > _LARGEST_REPORT:
        raise ConfigError(f"{path}: larger than {_LARGEST_REPORT >> 20} MiB: no report of ours")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError(f"{path}: not UTF-8") from None


def _write(path: str, text: str) -> None:
    """A policy that somebody has edited is not to be lost."""
    try:
        with Path(path).open("x") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already; name another file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
