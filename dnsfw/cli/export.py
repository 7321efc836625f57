"""`dnsfw export`: a role's rules in another tool's format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from dnsfw.cli.render import counts, json_option, print_json
from dnsfw.cli.write import write_whole
from dnsfw.errors import ConfigError
from dnsfw.policy.compile import find_policy, load
from dnsfw.policy.exporters import FORMATS, Exported
from dnsfw.policy.exporters import export as export_to
from dnsfw.policy.importers import Kept
from dnsfw.policy.policy import HOST_NAME
from dnsfw.policy.problems import printable

_NO = 1
_MARKS = {Kept.READ: "kept", Kept.NOTED: "note", Kept.LOST: "LOST"}


def _complete(ctx: click.Context, param: click.Parameter, word: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in FORMATS if name.startswith(word)]


@click.command(short_help="The policy in another tool's format.")
@click.argument("form", metavar="FORMAT", shell_complete=_complete)
@click.option("--policy", "-p", metavar="FILE", help="Policy file (default: as `up` finds it).")
@click.option("--role", metavar="ROLE", default=HOST_NAME, help="Whose rules (default: host).")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(), help="Write it there, not to stdout."
)
@click.option("--partial", is_flag=True, help="Go on where something cannot be kept.")
@json_option
@click.pass_context
def export(
    ctx: click.Context,
    form: str,
    policy: str | None,
    role: str,
    output: str | None,
    partial: bool,
    as_json: bool,
) -> None:
    """Write the rules of a role in another tool's format.

    \b
    FORMAT is one of
      plain              exact names, one a line
      wildcard           NAME or *.NAME, one a line
      cidr               addresses and prefixes, one a line
      hosts              0.0.0.0 NAME: denied exact names
      adblock            ||NAME^: denied names, @@||NAME^ their exceptions
      rpz                a response policy zone: denied names, exceptions
      dnsmasq            address=/NAME/ where denied, nftset=/NAME/ where allowed
      cilium             a CiliumNetworkPolicy
      allowed-endpoints  HOST:PORT, one a line, for build systems
      sandbox            JSON: allowedDomains, deniedDomains

    Lists have the rules that differ from the role's default. What the format
    cannot say goes to stderr with its line: ports, globs, the other verdict. It
    is refused (exit 1, nothing written), unless --partial.
    """
    if form not in FORMATS:
        raise ConfigError(f"no format is called {form!r}; there are {', '.join(FORMATS)}")
    compiled = load(find_policy(policy))
    made = export_to(FORMATS[form], compiled.roles[compiled.role_id(role)])
    refused = bool(made.lost) and not partial
    if as_json:
        print_json(_row(made, role, refused))
    else:
        for line in _told(made, refused):
            click.echo(line, err=True)
    if refused:
        ctx.exit(_NO)
    if output is not None:
        write_whole(Path(output), made.text)
    elif not as_json:
        click.echo(made.text, nl=False)


def _told(made: Exported, refused: bool) -> Iterator[str]:
    for one in made.findings:
        where = f"{printable(one.where.file)}:{one.line}"
        yield f"{where}: {_MARKS[one.kept]} {printable(one.source)} -> {printable(one.became)}"
    if refused:
        number = counts(len(made.lost), "rule is", "rules are")
        yield f"{number} lost; nothing written: --partial goes on without them"


def _row(made: Exported, role: str, refused: bool) -> dict[str, Any]:
    return {
        "format": made.format,
        "role": role,
        "ok": not refused,
        "text": None if refused else made.text,
        "findings": [
            {"line": f.line, "kept": f.kept.value, "source": f.source, "became": f.became}
            for f in made.findings
        ],
    }
