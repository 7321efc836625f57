"""`dnsfw replay`: everything a log has seen, judged by a policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import click

from dnsfw.cli.explain_view import REASONS
from dnsfw.cli.render import counts, json_option, print_json
from dnsfw.cli.seen_files import Logs
from dnsfw.engine.replay import Judge, Outcome
from dnsfw.model import Verdict
from dnsfw.policy.compile import find_policy, load
from dnsfw.policy.explained import rule_row
from dnsfw.policy.seen import Seen
from dnsfw.values import dataclass
from dnsfw.wire.name import to_text

__all__ = ["by_text", "replay", "seen_text"]

_SHOWN = 40
_WIDEST = 44
Change = Literal["refused", "allowed", "same"]


@dataclass(frozen=True, slots=True)
class _Line:
    """One thing that was seen, then and now."""

    seen: Seen
    count: int
    now: Outcome

    @property
    def change(self) -> Change:
        if self.now.verdict is self.seen.was:
            return "same"
        return "allowed" if self.now.verdict is Verdict.ALLOW else "refused"


@click.command(short_help="Everything a log has seen, judged by a policy.")
@click.argument("logs", metavar="LOG...", nargs=-1, required=True)
@click.option("--policy", "-p", metavar="FILE", help="Judge by this file (default: as `up`).")
@click.option("--role", metavar="ROLE", help="Judge everything as this role.")
@click.option(
    "--fail-on", type=click.Choice(["refused", "allowed", "any", "never"]), default="refused",
    show_default=True, help="Exit 1 if something is refused now, or allowed now.",
)  # fmt: skip
@click.option("--all", "-a", "everything", is_flag=True, help="Show what stays the same, too.")
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    logs: tuple[str, ...],
    policy: str | None,
    role: str | None,
    fail_on: str,
    everything: bool,
    as_json: bool,
) -> None:
    """Judge every line of LOG by a policy: what was allowed and would be refused
    now, and what was refused and would be allowed.

    LOG is what `log: {names: all}` writes (a file, or its directory), the output
    of `dnsfw watch --json`, or a report of `dnsfw run --report`; - is stdin.
    Names are judged with the addresses they had, connections with their port.
    Every role is judged as if it enforced. Needs no root and asks no server.

    \b
      dnsfw replay /var/log/dnsfw --policy new.yaml
      dnsfw run --audit --report seen.json -- make test
      dnsfw replay seen.json --policy ci.yaml --role ci

    Exit status: 0 nothing of --fail-on, 1 something, 2 a mistake.
    """
    path = find_policy(policy)
    judge = Judge(load(path), role)
    read = Logs.read(logs)
    lines, strangers = _judged(read, judge)
    if as_json:
        print_json(_json(str(path), read, lines, strangers))
    else:
        _show(str(path), read, lines, strangers, everything=everything)
    found = {line.change for line in lines}
    wanted = {"any": {"refused", "allowed"}, "never": set()}.get(fail_on, {fail_on})
    ctx.exit(1 if found & wanted else 0)


def _judged(read: Logs, judge: Judge) -> tuple[list[_Line], dict[str, int]]:
    """What can be judged, the most frequent first; and roles that the policy has not."""
    lines: list[_Line] = []
    strangers: dict[str, int] = {}
    for seen, count in read.seen.values():
        now = judge.judge(seen)
        if now is None and seen.role == "none":
            continue  # nobody knew who asked, then and now
        if now is None:
            strangers[seen.role] = strangers.get(seen.role, 0) + 1
        else:
            lines.append(_Line(seen, count, now))
    lines.sort(key=lambda line: (-line.count, line.seen.role, line.seen.asked.text))
    return lines, strangers


def _show(
    path: str, read: Logs, lines: list[_Line], strangers: dict[str, int], *, everything: bool
) -> None:
    by = {
        change: [line for line in lines if line.change == change]
        for change in ("refused", "allowed", "same")
    }
    for change, title in (
        ("refused", "allowed then, refused now:"),
        ("allowed", "refused then, allowed now:"),
        ("same", "the same:"),
    ):
        if by[change] and (change != "same" or everything):
            click.echo(title)
            for text in _table(by[change]):
                click.echo(text)
    same = by["same"]
    allowed = sum(line.now.verdict is Verdict.ALLOW for line in same)
    refused, opened = len(by["refused"]), len(by["allowed"])
    click.echo(
        f"{path}: {counts(read.lines, 'line')}, {counts(len(lines), 'destination')}: "
        f"{refused} refused now, {opened} allowed now, {len(same)} the same "
        f"({allowed} allowed, {len(same) - allowed} refused)"
    )
    for note in (*read.notes(), *_unknown(strangers)):
        click.echo(f"dnsfw: {note}", err=True)


def _unknown(strangers: dict[str, int]) -> Iterator[str]:
    if strangers:
        told = ", ".join(f"{role} ({count})" for role, count in sorted(strangers.items()))
        yield f"not judged: roles that the policy has not: {told}; say --role to judge as one"


def _table(lines: Iterable[_Line]) -> Iterator[str]:
    rows = [(f"{line.count}x", seen_text(line.seen), by_text(line.now)) for line in lines]
    shown = rows[:_SHOWN]
    widths = [min(max(len(row[n]) for row in shown), _WIDEST) for n in range(2)]
    for count, what, by in shown:
        yield f"  {count.rjust(widths[0])}  {what.ljust(widths[1])}  {by}".rstrip()
    if len(rows) > len(shown):
        yield f"  and {len(rows) - len(shown)} more; --json has all"


def seen_text(seen: Seen) -> str:
    """Who wanted what; of an address also who held it."""
    who = "" if seen.role == "host" else f"{seen.role}: "
    held = f" ({to_text(seen.names[0])})" if seen.names else ""
    return f"{who}{seen.asked.text}{held}"


def by_text(outcome: Outcome) -> str:
    """The rule, or in words why without one."""
    if outcome.rule is not None:
        return outcome.rule.text
    return REASONS.get(outcome.reason, outcome.reason)


def _json(path: str, read: Logs, lines: list[_Line], strangers: dict[str, int]) -> dict[str, Any]:
    return {
        "policy": path,
        "lines": read.lines,
        "unread": dict(read.unread),
        "unknown_roles": strangers,
        "destinations": [
            {
                "role": line.seen.role,
                "destination": line.seen.asked.text,
                "count": line.count,
                "who": line.seen.who,
                "was": line.seen.was.name.lower(),
                "now": line.now.verdict.name.lower(),
                "change": line.change,
                "reason": line.now.reason,
                "rule": rule_row(line.now.rule),
            }
            for line in lines
        ],
    }
