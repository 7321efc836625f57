"""`dnsfw explain`: which rule decides, and which rule lost to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dnsfw.cli.render import json_option, print_json
from dnsfw.engine.local import local_answer
from dnsfw.errors import ConfigError
from dnsfw.model import Name, Reason, Verdict
from dnsfw.policy.compile import find_policy, load
from dnsfw.policy.explain import Explanation
from dnsfw.policy.explain import explain as explain_to
from dnsfw.policy.ports import KNOWN, describe
from dnsfw.policy.rule import Rule
from dnsfw.wire.message import A

HOST_ROLE = "host"
REASONS = {
    Reason.BY_NAME: "a name rule",
    Reason.NAME_DEFAULT: "the default: no rule names it",
    Reason.BAD_LABEL: "its octets: labels hold letters, digits, - and _ only",
    Reason.ADDRESS_RULE: "an address rule",
    Reason.BUILTIN: "a built-in deny: metadata",
    Reason.LOOPBACK: "loopback is open",
    Reason.NEVER_RESOLVED: "the default: no allowed name resolved to it",
    Reason.DEFAULT: "the default: no rule names it",
}


@click.command()
@click.argument("destination", metavar="DEST")
@click.option("--policy", "-p", metavar="FILE", help="Policy file (default: as `up` finds it).")
@click.option("--role", metavar="ROLE", default=HOST_ROLE, show_default=True, help="For whom.")
@json_option
@click.pass_context
def explain(
    ctx: click.Context, destination: str, policy: str | None, role: str, as_json: bool
) -> None:
    """Say what the policy makes of DEST, and why.

    DEST is a name or an address with an optional port and protocol: pypi.org,
    pypi.org:443, pypi.org:443/udp, 10.1.2.3/icmp, [2001:db8::1]:22. A port
    without a protocol means TCP. Needs no root and asks no server.

    Exit status: 0 allowed, 1 denied, 2 a mistake in DEST or in the policy.
    """
    if role != HOST_ROLE:
        raise ConfigError(f"no role is called {role!r}; known is {HOST_ROLE}")
    host = load(find_policy(policy)).host
    found = explain_to(host, destination)
    if not found.asked.is_addr and local_answer(Name(found.asked.to), A, host):
        found = found.noting("dnsfw answers this name itself and asks nobody")
    if as_json:
        print_json(_json(found))
    else:
        click.echo("\n".join(_lines(found)))
    ctx.exit(0 if found.verdict is Verdict.ALLOW else 1)


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
