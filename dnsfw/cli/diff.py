"""`dnsfw diff`: what changes from one policy to another, and for whom it matters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from dnsfw.cli.render import counts, json_option, print_json
from dnsfw.cli.replay import by_text, seen_text
from dnsfw.cli.seen_files import Logs
from dnsfw.cli.stdin_policy import STDIN, stdin_policy
from dnsfw.engine.replay import Judge, Outcome
from dnsfw.errors import ConfigError
from dnsfw.model import PortSet, Verdict
from dnsfw.policy.compile import diff as changes_of
from dnsfw.policy.compile import find_policy, load
from dnsfw.policy.difference_lists import list_changes
from dnsfw.policy.explained import rule_row
from dnsfw.policy.policy import Policy
from dnsfw.policy.ports import KNOWN, describe
from dnsfw.policy.seen import Seen
from dnsfw.values import dataclass

__all__ = ["diff"]

_SHOWN = 40


@dataclass(frozen=True, slots=True)
class _Change:
    """Something that was seen, and what both policies make of it."""

    seen: Seen
    count: int
    old: Outcome | None  # None: the policy has no such role
    new: Outcome | None

    @property
    def closed(self) -> PortSet:
        """What was open on one of its addresses, and is not."""
        return self._less(self.old, self.new)

    @property
    def opened(self) -> PortSet:
        return self._less(self.new, self.old)

    def _less(self, one: Outcome | None, other: Outcome | None) -> PortSet:
        size = max(1, len(self.seen.addresses))
        found = PortSet()
        for mine, theirs in zip(_open(one, size), _open(other, size), strict=True):
            found = found.union(mine.minus(theirs))
        return found

    @property
    def matters(self) -> bool:
        """Another verdict counts where no port is open either way, too."""
        return _allowed(self.old) is not _allowed(self.new) or bool(self.closed or self.opened)


@click.command(short_help="What changes from one policy to another.")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option(
    "--against", "logs", metavar="LOG", multiple=True,
    help="Which names seen in this log change verdict (may be repeated; - is stdin).",
)  # fmt: skip
@json_option
@click.pass_context
def diff(ctx: click.Context, old: str, new: str, logs: tuple[str, ...], as_json: bool) -> None:
    """Say which rules, settings and lists change from the policy OLD to NEW, in
    the lines that `reload` prints: + new, - gone, ~ changed.

    With --against, also which destinations seen in a log (see `dnsfw replay`)
    change verdict or ports, by role, with both rules.

    \b
      dnsfw diff /etc/dnsfw/policy.yaml new.yaml
      dnsfw diff old.yaml new.yaml --against /var/log/dnsfw
      git show HEAD:policy.yaml | dnsfw diff - policy.yaml

    Exit status: 0 no difference, 1 differences, 2 a mistake. With --against only
    what was seen counts: rules that change nothing of it give 0.
    """
    if [old, new, *logs].count(STDIN) > 1:
        raise ConfigError("- can be read once")
    before, after = _load(old), _load(new)
    rules = [*changes_of(before, after), *list_changes(before, after)]
    if not logs:
        _finish_rules(rules, old, new, as_json=as_json)
        ctx.exit(1 if rules else 0)
    read = Logs.read(logs)
    judges = Judge(before), Judge(after)
    found = [
        _Change(seen, count, judges[0].judge(seen), judges[1].judge(seen))
        for seen, count in _once(read)
    ]
    changed = [change for change in found if change.matters]
    changed.sort(key=lambda c: (-c.count, c.seen.role, c.seen.asked.text))
    if as_json:
        print_json(_json(old, new, rules, read, changed, len(found)))
    else:
        for line in rules:
            click.echo(line)
        _show(changed, len(found))
        for note in read.notes():
            click.echo(f"dnsfw: {note}", err=True)
    ctx.exit(1 if changed else 0)


def _load(place: str) -> Policy:
    return stdin_policy() if place == STDIN else load(find_policy(place))


def _once(read: Logs) -> Iterator[tuple[Seen, int]]:
    """Each destination once, whatever became of it when it was seen."""
    joined: dict[tuple[object, ...], tuple[Seen, int]] = {}
    for seen, count in read.seen.values():
        known = joined.get(seen.key)
        joined[seen.key] = (seen, count + (known[1] if known else 0))
    yield from joined.values()


def _finish_rules(rules: list[str], old: str, new: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"old": old, "new": new, "changes": rules})
        return
    for line in rules:
        click.echo(line)
    click.echo(counts(len(rules), "change") if rules else "no difference")


def _show(changed: list[_Change], total: int) -> None:
    for title, some in (
        ("refused by the new one:", [c for c in changed if not _allowed(c.new)]),
        ("allowed by the new one:", [c for c in changed if not _allowed(c.old)]),
        ("other ports:", [c for c in changed if _allowed(c.old) and _allowed(c.new)]),
    ):
        if some:
            click.echo(title)
            for line in _lines(some):
                click.echo(line)
    what = f"{len(changed)} of {counts(total, 'destination')} that were seen"
    click.echo(f"{what} change" if changed else f"nothing that was seen changes ({total})")


def _lines(some: Iterable[_Change]) -> Iterator[str]:
    listed = list(some)
    for change in listed[:_SHOWN]:
        yield f"  {change.count}x  {seen_text(change.seen)}"
        if _allowed(change.old) and _allowed(change.new):
            yield f"      {_moved(change)}"
        yield f"      {_by(change.old)} -> {_by(change.new)}"
    if len(listed) > _SHOWN:
        yield f"  and {len(listed) - _SHOWN} more; --json has all"


def _moved(change: _Change) -> str:
    parts = []
    if change.closed:
        parts.append(f"closed {describe(change.closed)}")
    if change.opened:
        parts.append(f"open {describe(change.opened)}")
    return ", ".join(parts)


def _by(outcome: Outcome | None) -> str:
    return "no such role" if outcome is None else by_text(outcome)


def _allowed(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.verdict is Verdict.ALLOW


def _open(outcome: Outcome | None, size: int) -> tuple[PortSet, ...]:
    """What is open on each address; of what is refused as a whole nothing is."""
    if outcome is None or not _allowed(outcome):
        return (PortSet(),) * size
    return outcome.open if len(outcome.open) == size else outcome.open * size


def _json(
    old: str, new: str, rules: list[str], read: Logs, changed: list[_Change], total: int
) -> dict[str, Any]:
    return {
        "old": old,
        "new": new,
        "changes": rules,
        "lines": read.lines,
        "unread": dict(read.unread),
        "seen": total,
        "changed": [
            {
                "role": change.seen.role,
                "destination": change.seen.asked.text,
                "count": change.count,
                "who": change.seen.who,
                "old": _outcome(change.old),
                "new": _outcome(change.new),
            }
            for change in changed
        ],
    }


def _outcome(outcome: Outcome | None) -> dict[str, Any] | None:
    if outcome is None:
        return None
    ports = outcome.ports if _allowed(outcome) else PortSet()
    return {
        "verdict": outcome.verdict.name.lower(),
        "reason": outcome.reason,
        "rule": rule_row(outcome.rule),
        "ports": "any" if ports == KNOWN else describe(ports),
    }
