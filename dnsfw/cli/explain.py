"""`dnsfw explain`: which rule decides, and which rule lost to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dnsfw.cli.assignment_view import assignment_json, assignment_lines
from dnsfw.cli.process_facts import read_process
from dnsfw.cli.render import json_option, print_json
from dnsfw.cli.role_view import role_json, role_lines
from dnsfw.engine.local import local_answer
from dnsfw.errors import ConfigError
from dnsfw.model import HOST, Name, Reason, Verdict
from dnsfw.policy.compile import find_policy, load
from dnsfw.policy.explain import Explanation
from dnsfw.policy.explain import explain as explain_to
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import KNOWN, describe
from dnsfw.policy.rule import Rule
from dnsfw.policy.subjects import role_of
from dnsfw.wire.message import A

REASONS = {
    Reason.BY_NAME: "a name rule",
    Reason.NAME_DEFAULT: "the default: no rule names it",
    Reason.BAD_LABEL: "its octets: labels hold letters, digits, - and _ only",
    Reason.ADDRESS_RULE: "an address rule",
    Reason.BUILTIN: "a built-in deny: metadata",
    Reason.LOOPBACK: "loopback is open",
    Reason.LOOPBACK_OTHER: "the role's loopback",
    Reason.NEVER_RESOLVED: "the default: no allowed name resolved to it",
    Reason.DEFAULT: "the default: no rule names it",
}


@click.command()
@click.argument("destination", metavar="[DEST]", required=False)
@click.option("--policy", "-p", metavar="FILE", help="Policy file (default: as `up` finds it).")
@click.option("--role", metavar="ROLE", help="For whom (default: host).")
@click.option("--pid", metavar="PID", type=int, help="For the role of this process.")
@click.option("--via", metavar="IFACE", default="", help="With --pid: sent by this interface.")
@json_option
@click.pass_context
def explain(
    ctx: click.Context,
    destination: str | None,
    policy: str | None,
    role: str | None,
    pid: int | None,
    via: str,
    as_json: bool,
) -> None:
    """Say what the policy makes of DEST, and why; or who is in which role.

    DEST is a name or an address with an optional port and protocol: pypi.org,
    pypi.org:443, pypi.org:443/udp, 10.1.2.3/icmp, [2001:db8::1]:22. A port
    without a protocol means TCP. Needs no root and asks no server.

    With --pid: the role of a process, the subject that decides, and the
    subjects that fit as well but lost. With --role alone: the role.

    Exit status: 0 allowed, 1 denied, 2 a mistake in DEST or in the policy.
    """
    if (role is not None) + (pid is not None) > 1 or (via and pid is None):
        raise ConfigError("--role and --pid name a role in two ways; --via goes with --pid")
    if destination is None and role is None and pid is None:
        raise ConfigError("nothing to explain; name a destination, a --role or a --pid")
    compiled = load(find_policy(policy))
    shown: dict[str, Any] = {}
    lines: list[str] = []
    number = compiled.role_id(role) if role is not None else HOST
    if pid is not None:
        seen = read_process(pid, compiled, via)
        number = (found := role_of(compiled.subjects, seen.facts)).role
        lines += assignment_lines(compiled, seen, found)
        shown = assignment_json(compiled, seen, found)
    elif destination is None:
        lines += role_lines(compiled, compiled.roles[number])
        shown = role_json(compiled, compiled.roles[number])
    allowed = True
    if destination is not None:
        judged = _judge(compiled.roles[number], destination)
        allowed = judged.verdict is Verdict.ALLOW
        lines += _lines(judged)
        shown = {**_json(judged), **({"process": shown} if shown else {})}
    if as_json:
        print_json(shown)
    else:
        click.echo("\n".join(lines))
    ctx.exit(0 if allowed else 1)


def _judge(role: RolePolicy, destination: str) -> Explanation:
    found = explain_to(role, destination)
    if not found.asked.is_addr and local_answer(Name(found.asked.to), A, role):
        found = found.noting("dnsfw answers this name itself and asks nobody")
    return found


def _lines(found: Explanation) -> Iterator[str]:
    told: set[str] = set()
    yield f"{found.asked.text}: {_word(found.verdict)}"
    if found.best.rule:
        yield f"  by     {found.best.rule.text}"
        yield f"         {found.best.rule.where}"
    else:
        yield f"  by     {REASONS[found.best.reason]}"
    if found.runner_up:
        yield f"  not    {found.runner_up.text}"
        yield f"         {found.runner_up.where}"
        yield f"         {found.why}"
    if len(found.shares) > 1:
        for share in found.shares:
            ports = describe(share.ports) if share.rule else "the rest"
            line = f"  ports  {ports}: {_word(share.verdict)}"
            if line not in told:  # a share of many ranges comes in pieces
                yield line
            told.add(line)
    for note in found.notes:
        yield f"  note   {note}"


def _word(verdict: Verdict) -> str:
    return "allowed" if verdict is Verdict.ALLOW else "denied"


def _reason(reason: Reason) -> str:
    """In the words of `watch` and `status`."""
    return reason.name.lower().replace("_", "-")


def _json(found: Explanation) -> dict[str, Any]:
    return {
        "destination": found.asked.text,
        "role": found.role,
        "verdict": found.verdict.name.lower(),
        "reason": _reason(found.best.reason),
        "rule": _rule_json(found.best.rule),
        "runner_up": _rule_json(found.runner_up),
        "why": found.why,
        "shares": [
            {
                "ports": "any" if share.ports == KNOWN else describe(share.ports),
                "verdict": share.verdict.name.lower(),
                "reason": _reason(share.reason),
                "rule": _rule_json(share.rule),
            }
            for share in found.shares
        ],
        "notes": list(found.notes),
    }


def _rule_json(rule: Rule | None) -> dict[str, Any] | None:
    if rule is None:
        return None
    where = rule.where
    return {
        "id": f"{rule.id:08x}",  # what a refused query's answer says
        "text": rule.text,
        "file": where.file,
        "line": where.line,
        "column": where.column,
        "note": rule.note,
    }
