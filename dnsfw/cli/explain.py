"""`dnsfw explain`: which rule decides, and which rule lost to it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click

from dnsfw.cli.assignment_view import assignment_json, assignment_lines
from dnsfw.cli.client import Client, NoAccess, NoDaemon, run_dir_option
from dnsfw.cli.explain_view import explained_lines, rule_lines
from dnsfw.cli.process_facts import read_process
from dnsfw.cli.render import json_option, print_json
from dnsfw.cli.role_view import role_json, role_lines
from dnsfw.engine.explain import explain_for, told_of
from dnsfw.errors import ConfigError
from dnsfw.model import HOST
from dnsfw.policy.asked import parse_asked
from dnsfw.policy.compile import find_policy, load
from dnsfw.policy.explained import rule_told
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.policy.subjects import role_of


@click.command()
@click.argument("destination", metavar="[DEST]", required=False)
@click.option(
    "--policy", "-p", metavar="FILE", help="This file (default: the daemon, else as `up` finds it)."
)
@click.option("--role", metavar="ROLE", help="For whom (default: host).")
@click.option("--pid", metavar="PID", type=int, help="For the role of this process.")
@click.option("--via", metavar="IFACE", default="", help="With --pid: sent by this interface.")
@click.option("--type", "-t", "qtype", metavar="TYPE", help="May this type be asked for, too?")
@click.option("--rule", metavar="ID", help="The rule that an answer (EDE) or `watch` names.")
@click.option("--event", metavar="ID", type=int, help="What `watch --json` told under this id.")
@json_option
@run_dir_option
@click.pass_context
def explain(
    ctx: click.Context,
    destination: str | None,
    policy: str | None,
    role: str | None,
    pid: int | None,
    via: str,
    qtype: str | None,
    rule: str | None,
    event: int | None,
    as_json: bool,
    run_dir: str | None,
) -> None:
    """Say what the policy makes of DEST, and why; or who is in which role.

    DEST is a name or an address with an optional port and protocol: pypi.org,
    pypi.org:443, pypi.org:443/udp, 10.1.2.3/icmp, [2001:db8::1]:22. A port
    without a protocol means TCP. Needs no root and asks no server.

    Where a daemon runs, it answers (and the first line says so): with what is
    open now, who asked for it, and what is known of before. With --policy, or
    without a daemon, a policy file answers.

    With --pid: the role of a process, the subject that decides, and the
    subjects that fit as well but lost. With --role alone: the role. With --rule:
    the file, line and text of a rule; its id is in the Extended DNS Error of a
    refused query (`dig` shows "rule 1f2e3d4c") and in `watch --json`.

    Exit status: 0 allowed, 1 denied, 2 a mistake in DEST or in the policy.
    """
    if rule is not None:
        if (destination, role, pid, qtype, event) != (None,) * 5:
            raise ConfigError("--rule stands alone, or with --policy")
        told = _rule(run_dir, policy, rule)
        return print_json(told) if as_json else click.echo("\n".join(rule_lines(told)))
    _check(destination, policy, role, pid, via, event)
    if qtype is not None and destination is None:
        raise ConfigError("--type goes with a name: dnsfw explain --type TXT example.com")
    shown: dict[str, Any] = {}
    lines: list[str] = []
    if pid is not None:
        compiled = _file(policy, run_dir, lines)
        seen = read_process(pid, compiled, via)
        found = role_of(compiled.subjects, seen.facts)
        role = compiled.roles[found.role].name
        lines += assignment_lines(compiled, seen, found)
        shown = assignment_json(compiled, seen, found)
    elif destination is None and event is None:
        compiled = _file(policy, run_dir, lines)
        number = compiled.role_id(role or "host")
        lines += role_lines(compiled, compiled.roles[number])
        shown = role_json(compiled, compiled.roles[number])
    allowed = True
    if destination is not None or event is not None:
        row = None if policy else _live(run_dir, destination, role, event, qtype)
        if row is None:
            row = _by_file(policy, role, destination or "", qtype)
            if policy is None:  # the shipped starter allows: not what somebody thinks is in force
                lines.append(f"no daemon runs here: by {find_policy(None)}")
        allowed = row["verdict"] == "allow"
        lines += explained_lines(row)
        shown = {**row, **({"process": shown} if shown else {})}
    if as_json:
        print_json(shown)
    else:
        click.echo("\n".join(lines))
    ctx.exit(0 if allowed else 1)


def _file(policy: str | None, run_dir: str | None, lines: list[str]) -> Policy:
    """Of who is in which role: the file that is named, else the running daemon's."""
    if policy is None:
        with suppress(NoDaemon, NoAccess):
            status = Client(run_dir).ask("status")
            stale = ", which has changed and was not loaded" if status["policy_stale"] else ""
            lines.append(f"by {status['policy']}, the file of the running daemon{stale}")
            return load(find_policy(status["policy"]))
    return load(find_policy(policy))


def _check(
    destination: str | None,
    policy: str | None,
    role: str | None,
    pid: int | None,
    via: str,
    event: int | None,
) -> None:
    if (role is not None) + (pid is not None) > 1 or (via and pid is None):
        raise ConfigError("--role and --pid name a role in two ways; --via goes with --pid")
    if event is not None and (destination, policy, role, pid) != (None,) * 4:
        raise ConfigError("--event names destination and role itself, and the daemon knows it")
    if destination is None and role is None and pid is None and event is None:
        told = "nothing to explain; name a destination, a --role, --pid, --rule or --event"
        raise ConfigError(told)


def _live(
    run_dir: str | None,
    destination: str | None,
    role: str | None,
    event: int | None,
    qtype: str | None,
) -> dict[str, Any] | None:
    """The daemon's answer; None where there is none to ask."""
    what = {"destination": destination, "role": role or "host", "type": qtype}
    try:
        return _asked(run_dir, **({"event": event} if event is not None else what))
    except (NoDaemon, NoAccess):
        if event is not None:
            raise
        return None


def _rule(run_dir: str | None, policy: str | None, rule: str) -> dict[str, Any]:
    """A rule of the daemon's policy, or of a file's."""
    if policy is None:
        with suppress(NoDaemon, NoAccess):
            return _asked(run_dir, rule=rule)
    path = find_policy(policy)
    return {"live": False, "policy": str(path), "rule": rule_told(load(path), rule)}


def _asked(run_dir: str | None, **what: Any) -> dict[str, Any]:
    row = Client(run_dir).ask("explain", **what)
    row.pop("ok", None)
    return {"live": True, **row}


def _by_file(
    policy: str | None, role: str | None, destination: str, qtype: str | None
) -> dict[str, Any]:
    compiled = load(find_policy(policy))
    number = compiled.role_id(role) if role is not None else HOST
    judged: RolePolicy = compiled.roles[number]
    return told_of(judged, explain_for(judged, parse_asked(destination)), qtype or "")
