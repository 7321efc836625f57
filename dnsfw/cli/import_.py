"""`dnsfw import`: another tool's policy, as one of ours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from dnsfw.cli.render import counts, json_option, print_json
from dnsfw.cli.write import write_whole
from dnsfw.errors import ConfigError
from dnsfw.policy.compile import compile_text
from dnsfw.policy.files import read_policy
from dnsfw.policy.importers import FORMATS, Format, Imported, Kept, import_text, recognize
from dnsfw.policy.lists.store import MAX_SOURCE
from dnsfw.policy.problems import printable

_NO = 1
_REVISION = re.compile(r"^revision: ([0-9]{1,18})\b", re.MULTILINE)
_MARKS = {Kept.READ: "read", Kept.NOTED: "note", Kept.LOST: "LOST"}


def _complete(ctx: click.Context, param: click.Parameter, word: str) -> list[CompletionItem]:
    """A format, or any file."""
    named = [CompletionItem(name) for name in FORMATS if word and name.startswith(word)]
    return named or [CompletionItem(word, type="file")]


@click.command("import", short_help="Another tool's policy, as one of ours.")
@click.argument("words", metavar="[FORMAT] [FILE]", nargs=-1, shell_complete=_complete)
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(),
    help="Write the policy there, not to stdout.",
)  # fmt: skip
@click.option("--partial", is_flag=True, help="Go on where something cannot be kept.")
@click.option("--allow", is_flag=True, help="A list of names is of what may be reached.")
@click.option(
    "--as", "meaning", type=click.Choice(["exact", "suffix"]), default="exact",
    help="suffix: a plain name of a list means all below it too.",
)  # fmt: skip
@json_option
@click.pass_context
def import_(
    ctx: click.Context,
    words: tuple[str, ...],
    output: str | None,
    partial: bool,
    allow: bool,
    meaning: str,
    as_json: bool,
) -> None:
    """Make a policy of another tool's file, and tell how each line was read.

    \b
    FORMAT is known by the file's keys, or one of
      blocklist  JSON: revision, lockdown_mode, blocked_domains, blocked_ips
      roles      JSON: roles with network_rules and enrollments
      endpoints  YAML: endpoints with iface, range, allow
      cilium             YAML: CiliumNetworkPolicy, its clusterwide kind
      cluster-policy     YAML: ClusterNetworkPolicy, AdminNetworkPolicy
      allowed-endpoints  HOST:PORT lists of build systems, in a workflow too
      sandbox            JSON: allowedDomains, deniedDomains
      plain, hosts, wildcard, adblock, rpz, dnsmasq, cidr
                         lists: named always; of what is denied, or --allow
    JSON may have comments and commas before a closing bracket. A short list
    becomes rules, a long one is named by the policy and stays where it is.

    Without FILE the places of those tools are tried: $SECEXIT_POLICY,
    ~/.config/secexit/policy.json; $BPFJAILER_POLICY, /etc/bpfjailer/policy.json,
    config/policy.json.

    The policy goes to stdout, what was read to stderr. What cannot be kept is
    refused (exit 1, nothing written), unless --partial.
    """
    form, path = _source(words)
    text = _read(path, form)
    found = form or recognize(text)
    if found is None:
        known = ", ".join(FORMATS)
        raise ConfigError(f"{path} has no key that tells its format; name it: {known}")
    if allow and found.listed is None:
        raise ConfigError(f"--allow is for lists of names: a {found.name} file says it itself")
    if (suffix := meaning == "suffix") and not found.plain:
        raise ConfigError(f"--as suffix is for plain names: a {found.name} file says it itself")
    if found.listed is not None:
        found = replace(found, read=found.listed(allow, suffix))
    made = import_text(found, text, str(path))
    refused = bool(made.lost) and not partial
    compile_text(made.text, f"{path} (imported)")  # what would be refused later is said now
    back = _goes_back(Path(output), made) if output is not None else ""
    if as_json:
        print_json(_row(made, path, refused))
    else:
        for line in _told(made, refused):
            click.echo(line, err=True)
    if back:
        click.echo(f"dnsfw: {back}", err=True)
    if refused or back:
        ctx.exit(_NO)
    if output is not None:
        write_whole(Path(output), made.text)
        click.echo(f"wrote {output}", err=True)
    elif not as_json:
        click.echo(made.text, nl=False)


def _read(path: Path, form: Format | None) -> str:
    """The text; what it becomes is for a person to read, so it may be anybody's. Lists are as
    long as lists are, and have a broken octet somewhere.
    """
    if form is None or form.listed is None:
        return read_policy(path, whoever=True)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SOURCE + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_SOURCE:
        raise ConfigError(f"{path}: larger than {MAX_SOURCE >> 20} MiB")
    return data.decode("utf-8-sig", "replace")


def _source(words: tuple[str, ...]) -> tuple[Format | None, Path]:
    """The format, where it was named, and the file."""
    match words:
        case ():
            return _standing(list(FORMATS.values()))
        case (name,) if name in FORMATS:
            return _standing([FORMATS[name]])
        case (file,):
            return None, _path(file)
        case (name, file):
            if name not in FORMATS:
                raise ConfigError(f"no format is called {name!r}; there are {', '.join(FORMATS)}")
            return FORMATS[name], _path(file)
        case _:
            raise ConfigError("one file at a time: dnsfw import [FORMAT] [FILE]")


def _standing(forms: list[Format]) -> tuple[Format, Path]:
    """The file where its own tool looks for it."""
    for form in forms:
        if named := os.environ.get(form.variable or "\0"):
            return form, _path(named)
    for form in forms:
        for place in form.places:
            if (path := Path(place).expanduser()).is_file():
                return form, path
    looked = [f"${form.variable}" for form in forms if form.variable]
    looked += [place for form in forms for place in form.places]
    where = f"nothing at {', '.join(looked)}; " if looked else ""
    raise ConfigError(f"{where}name the file: dnsfw import FILE")


def _path(text: str) -> Path:
    if re.match(r"https?://", text):
        raise ConfigError(f"{text}: a file only; fetch it first: curl -o policy.json {text}")
    return Path(text).expanduser()


def _goes_back(output: Path, made: Imported) -> str:
    """Why this must not replace what is there: a revision only grows."""
    try:
        there = _REVISION.search(output.read_text(errors="replace"))
    except OSError:
        return ""
    if there is None or (made.revision is not None and made.revision >= int(there[1])):
        return ""
    new = "no revision" if made.revision is None else f"revision {made.revision}"
    return f"{output} has revision {there[1]} and the file {new}: it does not go back"


def _told(made: Imported, refused: bool) -> Iterator[str]:
    for one in made.findings:
        where = f"{printable(one.where.file)}:{one.line}"
        yield f"{where}: {_MARKS[one.kept]} {one.source} -> {one.became}"
    number = {kept: sum(one.kept is kept for one in made.findings) for kept in Kept}
    told = f"{counts(number[Kept.READ], 'line')} read as {made.format}"
    told += f", {number[Kept.NOTED]} noted, {number[Kept.LOST]} lost"
    yield told + ("; nothing written: --partial goes on without them" if refused else "")


def _row(made: Imported, path: Path, refused: bool) -> dict[str, Any]:
    return {
        "file": str(path),
        "format": made.format,
        "ok": not refused,
        "revision": made.revision,
        "roles": {str(number): name for number, name in made.role_names.items()},
        "policy": None if refused else made.text,
        "findings": [
            {"line": f.line, "kept": f.kept.value, "source": f.source, "became": f.became}
            for f in made.findings
        ],
    }
