"""`dnsfw top`."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from dnsfw.cli.client import Client, role_option, run_dir_option
from dnsfw.cli.render import counts, json_option, seconds_of, table
from dnsfw.errors import ConfigError
from dnsfw.values import dataclass

_WIDTH, _HEIGHT = 80, 24
_SHORTEST = 1.0  # seconds: a look costs the daemon a few milliseconds
_HOME = "\x1b[H\x1b[J"  # to the first place of the screen, and nothing below it
_SHOWN = 10  # refusals, where nobody says how high the screen is
_OVER = 6  # lines that are neither roles nor refusals, and the cursor's

Row = Mapping[str, Any]
_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the daemon had counted at a moment; `refused` by what was wanted, and by whom."""

    at: float
    roles: tuple[Row, ...]
    refused: Mapping[_Key, Row]


@click.command("top", short_help="Who asks and is refused most, now.")
@click.option("--once", is_flag=True, help="One look at one interval, and no more.")
@click.option(
    "--interval", metavar="TIME", default="2s", show_default=True, help="Between two looks."
)
@role_option
@json_option
@run_dir_option
def top(once: bool, interval: str, role: str | None, as_json: bool, run_dir: str | None) -> None:
    """Who asks and is refused most, now: the busiest roles, and what is refused most often.
    Ctrl-C ends it.

    \b
    asked/s    questions; kernel: how many of them never reached the daemon
    refused/s  those that the policy refused
    denied/s   packets and connections that it refused
    new        how often since the last look; times: since the daemon started

    Roles are counted exactly. Of a flood of refusals a few a second are told by
    name or address, so `times` may be less than there were. Names that are
    answered are not counted one by one.
    """
    pause = seconds_of(interval)
    if pause < _SHORTEST:
        raise ConfigError(f"{interval!r} is too short a time; from 1s on")
    client = Client(run_dir)
    try:
        before = _look(client, role, {})
        while True:
            time.sleep(pause)
            now = _look(client, role, before.refused)
            _show(compare(before, now), as_json, once)
            if once:
                return
            before = now
    except KeyboardInterrupt:
        return


def _look(client: Client, role: str | None, known: Mapping[_Key, Row]) -> Sample:
    """`known`: only what has happened since is asked for."""
    at = time.time()
    status = client.ask("status", flows=False)
    since = max((row["last"] for row in known.values()), default=0)
    refused = dict(known)
    for row in client.rows("observed", role=role, since=since, askers=False):
        what = row["name"] or next(iter(row["addresses"]), "")
        if row["port"]:
            what += f":{row['port']}/{row['protocol']}"
        key = (row["role"], what, row["reason"], row["command"])
        refused[key] = row
    roles = tuple(one for one in status["roles"] if role in (None, one["name"]))
    return Sample(at, roles, refused)


def compare(before: Sample, now: Sample) -> dict[str, Any]:
    """What happened in between, the most of it first."""
    was = {row["name"]: row for row in before.roles}
    roles = [_of_role(was.get(row["name"]), row) for row in now.roles]
    refused = [
        {
            "role": role, "what": what, "reason": reason, "command": command,
            "new": _more(before.refused.get(key), row, "count"), "times": row["count"],
            "last": row["last"],
        }
        for key, row in now.refused.items()
        for role, what, reason, command in (key,)
    ]  # fmt: skip
    return {
        "at": now.at,
        "seconds": round(now.at - before.at, 3),
        "roles": sorted(roles, key=lambda row: (-row["asked"], -row["denied"], row["name"])),
        "refused": sorted(refused, key=lambda row: (-row["new"], -row["times"], -row["last"])),
    }


def _of_role(was: Row | None, row: Row) -> dict[str, Any]:
    kernel, before = row["by_kernel"], (was or {}).get("by_kernel", {})
    return {
        "name": row["name"],
        "mode": row["mode"],
        "asked": _more(was, row, "queries"),
        "in_kernel": sum(max(0, kernel[how] - before.get(how, 0)) for how in kernel),
        "refused": _more(was, row, "refused"),
        "denied": _more((was or {}).get("packets"), row["packets"], "denied"),
        "grants": row["grants"],
    }


def _more(was: Row | None, row: Row, key: str) -> int:
    """A daemon that has started anew begins at nothing."""
    before = 0 if was is None else was[key]
    return int(row[key] - before if row[key] >= before else row[key])


def _show(view: dict[str, Any], as_json: bool, once: bool) -> None:
    if as_json:
        click.echo(json.dumps(view))
        return
    live = sys.stdout.isatty() and not once
    height = shutil.get_terminal_size((_WIDTH, _HEIGHT)).lines if live else None
    text = "\n".join(lines(view, height))
    click.echo(f"{_HOME}{text}" if live else f"{text}\n")


def lines(view: dict[str, Any], height: int | None = None) -> Iterator[str]:
    """As a screen of this height."""
    at = time.strftime("%H:%M:%S", time.localtime(view["at"]))
    roles, refused = view["roles"], [row for row in view["refused"] if row["times"]]
    yield f"dnsfw top, {at}, the last {view['seconds']:.1f} s, {counts(len(roles), 'role')}"
    room = len(roles) if height is None else max(1, (height - _OVER) // 2)
    head = ("ROLE", "ASKED/S", "KERNEL", "REFUSED/S", "DENIED/S", "GRANTS")
    yield from table(head, [_cells(row, view["seconds"]) for row in roles[:room]]).splitlines()
    if len(roles) > room:
        yield f"and {counts(len(roles) - room, 'role')} more"
    yield ""
    room = _SHOWN if height is None else max(1, height - _OVER - min(room, len(roles)))
    if not refused:
        yield "nothing has been refused"
        return
    rows = [_wanted(row) for row in refused[:room]]
    yield from table(("NEW", "TIMES", "LAST", "ROLE", "WHY", "WHAT, BY"), rows).splitlines()


def _cells(row: Row, seconds: float) -> Sequence[str]:
    kernel = f"{100 * row['in_kernel'] // row['asked']}%" if row["asked"] else "-"
    rates = (f"{row[key] / max(seconds, 0.001):.1f}" for key in ("asked", "refused", "denied"))
    asked, refused, denied = rates
    name = f"{row['name']} (AUDIT)" if row["mode"] == "audit" else row["name"]
    return name, asked, kernel, refused, denied, str(row["grants"])


def _wanted(row: Row) -> Sequence[str]:
    by = f", {row['command']}" if row["command"] else ""
    last = time.strftime("%H:%M:%S", time.localtime(row["last"]))
    return (str(row["new"]), str(row["times"]), last, row["role"], row["reason"],
            f"{row['what']}{by}")  # fmt: skip
