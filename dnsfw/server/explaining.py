"""The verb `explain`: what policy and ledger say now, and what the history has of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from dnsfw.engine.effects import Note
from dnsfw.engine.explain import explain_for, told_of
from dnsfw.errors import ConfigError
from dnsfw.model import (
    SECOND,
    Addr,
    Lockdown,
    Mode,
    Name,
    PortRange,
    PortSet,
    RoleId,
    RuleId,
    addr_text,
)
from dnsfw.policy.asked import Asked, parse_asked
from dnsfw.policy.explained import rule_row, rule_told
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import KNOWN
from dnsfw.server.explaining_kernel import kernel_row
from dnsfw.server.history import History, Learnt, Refusals, Seen
from dnsfw.server.history_disk import KeptRefusals
from dnsfw.server.remembering import Remembering
from dnsfw.server.reporter import protocol_text
from dnsfw.server.resolve import role_named
from dnsfw.server.role_views import role_rows
from dnsfw.server.veil import is_veiled
from dnsfw.server.views import ports_text
from dnsfw.server.who_asks import Who, who_text
from dnsfw.values import dataclass
from dnsfw.wire.name import to_text

if TYPE_CHECKING:
    from dnsfw.server.control import Row
    from dnsfw.server.daemon import Daemon

__all__ = ["explain"]

_MOST = 50  # rows of each kind: an answer for people


async def explain(daemon: Daemon, request: Row) -> dict[str, Any]:
    """By `destination` and `role`, by the number of an `event`, or by a `rule`'s id. ConfigError
    for none of these.
    """
    policy = daemon.reloader.policy
    if (rule := request.get("rule")) is not None:
        found = rule_told(policy, str(rule))
        return {"policy": daemon.reloader.path, "stale": daemon.reloader.stale, "rule": found}
    told: dict[str, Any] = {}
    if (number := request.get("event")) is not None:
        role, asked, told["event"] = await _event(daemon, number)
    else:
        role = role_named(policy, request.get("role", "host"))
        asked = parse_asked(str(request.get("destination", "")))
    qtype = str(request.get("type") or "")
    now, past = _now(daemon, role, asked, qtype), _remembered(daemon, role, asked)
    return {**now, **await asyncio.to_thread(_told, daemon, past), **told}


async def _event(daemon: Daemon, number: object) -> tuple[RolePolicy, Asked, dict[str, Any]]:
    """What happened under this number, in this run or, from the disk, in an earlier one."""
    policy, reporter = daemon.reloader.policy, daemon.reporter
    if not isinstance(number, int) or isinstance(number, bool):
        raise ConfigError("an event has a number; `dnsfw watch --json` has it as `id`")
    seen = reporter.history.event(number)
    if seen is None:
        return await _event_of_before(daemon, number)
    role = policy.roles.get(History.role_of(seen))
    if role is None:
        raise ConfigError("the event's role is not in the policy any more")
    row = {"id": number, "at": seen.at, **reporter.row(seen.what)}
    if seen.names:
        row["names"] = [to_text(name) for name in seen.names]
    paths = daemon.records.paths
    row["asker"] = await asyncio.to_thread(who_text, seen.who, paths)
    return role, _destination(seen), row


async def _event_of_before(daemon: Daemon, number: int) -> tuple[RolePolicy, Asked, dict[str, Any]]:
    kept = daemon.records.remembering
    found = None if kept is None else await asyncio.to_thread(kept.disk.event, number)
    if found is None:
        raise ConfigError(f"no event {number!r} is remembered; `dnsfw watch --json` has the id")
    row, names = found.row, found.row.get("names", ())
    what = row.get("name") or row["address"]
    if is_veiled(what):
        raise ConfigError(
            f"of event {number} only a hash is kept (log.hash): {what}, {row['reason']}"
        )
    if not row.get("name") and row.get("protocol") in ("tcp", "udp"):
        host = f"[{what}]" if ":" in what else what
        what = f"{host}:{row['port']}/{row['protocol']}"
    role = role_named(daemon.reloader.policy, found.role)
    told = {"id": number, "at": found.at, **row, "names": list(names), "asker": ""}
    if row.get("command"):
        told["asker"] = f"{row['command']}[{row['pid']}]" if row["pid"] else row["command"]
    return role, parse_asked(what), told


def _destination(seen: Seen) -> Asked:
    """What a happening was about."""
    what = seen.what
    if isinstance(what, Note):
        return Asked(what.name, False, KNOWN, to_text(what.name))
    addr = Addr(what.addr)
    ports = PortSet((PortRange(what.proto, what.port, what.port),))
    host, proto = addr_text(addr), protocol_text(what.proto)
    host = f"[{host}]" if ":" in host else host
    text = f"{host}:{what.port}/{proto}" if proto in ("tcp", "udp") else f"{host}/{proto}"
    if not ports.intersect(KNOWN):  # a protocol that no policy can name
        ports = KNOWN
    return Asked(addr, True, ports, text)


def _now(daemon: Daemon, role: RolePolicy, asked: Asked, qtype: str) -> dict[str, Any]:
    engine, now = daemon.service.engine, daemon.now()
    addrs = [Addr(asked.to)] if asked.is_addr else engine.addresses(role.role, Name(asked.to))
    live = [
        (addr, grant)
        for addr in addrs
        for grant in engine.granted(role.role, addr)
        if grant.until > now
    ]
    found = explain_for(role, asked, [grant for _, grant in live] if asked.is_addr else ())
    if daemon.kernel.sink.locked is not Lockdown.OFF and role.mode is not Mode.AUDIT:
        found = found.noting("lockdown is on: nothing leaves, whatever the policy allows")
    flows: Counter[RoleId] = Counter(
        flow.role for flow in daemon.kernel.sink.flows() if flow.remote in set(addrs)
    )
    rows = [
        {
            "address": addr_text(addr),
            "names": [to_text(name) for name in engine.last_names(role.role, addr)],
            "verdict": grant.verdict.name.lower(),
            "ports": ports_text(grant.ports),
            "rule": rule_row(role.rules_by_id.get(grant.rule)),
            "seconds": (grant.until - now) // SECOND,
        }
        for addr, grant in live
        if grant.ports.intersect(asked.ports)
    ]
    return {
        **told_of(role, found, qtype, engine.guards, now),
        "policy": daemon.reloader.path,
        "stale": daemon.reloader.stale,
        "grants": rows[:_MOST],
        "flows": flows[role.role],
        "counters": _counters(daemon, role.name),
        "kernel": None if asked.is_addr else kernel_row(daemon, role, Name(asked.to)),
    }


def _counters(daemon: Daemon, role: str) -> dict[str, Any]:
    """What the whole role has asked and sent since the daemon, and its tables, are there."""
    row = next((row for row in role_rows(daemon, {}) if row["name"] == role), {})
    return {key: row.get(key) for key in ("queries", "refused", "grants", "packets")}


@dataclass(frozen=True, slots=True)
class _Past:
    """What the memory has, taken in the loop; who asked is put into words elsewhere."""

    role: RolePolicy
    asked: Asked
    learnt: list[tuple[dict[str, Any], Who]]
    refused: Refusals | None
    reason: dict[str, Any]  # of the last refusal


def _remembered(daemon: Daemon, role: RolePolicy, asked: Asked) -> _Past:
    history = daemon.reporter.history
    addr = Addr(asked.to) if asked.is_addr else None
    name = None if asked.is_addr else Name(asked.to)
    items = islice(history.learnt(role.role, name=name, addr=addr), _MOST)
    learnt = [(_learnt(daemon, item), item.who) for item in items]
    refused = history.refused(role.role, asked.to)
    reason = {} if refused is None else daemon.reporter.row(refused.what)
    return _Past(role, asked, learnt, refused, reason)


def _told(daemon: Daemon, past: _Past) -> dict[str, Any]:
    """In a thread: cgroups are looked up, and the disk is read."""
    paths = daemon.records.paths
    learnt = [{**row, "asker": who_text(who, paths)} for row, who in past.learnt]
    refused: dict[str, Any] | None = None
    if (counted := past.refused) is not None:
        refused = {
            "count": counted.count,
            "first": counted.first,
            "last": counted.last,
            "reason": past.reason.get("text") or past.reason["reason"],
            "rule": past.reason["rule"],
            "asker": who_text(counted.who, paths),
        }
    if (kept := daemon.records.remembering) is not None:
        learnt += _from_disk(kept, past, {(row["name"], row["address"]) for row in learnt})
        refused = _joined(refused, kept.refused_of(past.role.name, past.asked))
    return {"learnt": learnt[:_MOST], "refused": refused}


def _from_disk(
    kept: Remembering, past: _Past, known: set[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """What earlier runs learnt, and what the memory has forgotten."""
    for item in kept.learnt_of(past.role.name, past.asked, _MOST):
        name, address = kept.clear(item, past.asked)
        if (name, address) not in known:
            yield {
                "name": name,
                "chain": list(item.chain),
                "address": address,
                "rule": item.rule,
                "first": item.first,
                "last": item.last,
                "times": item.times,
                "asker": str(item.asker),
                "seconds": None,
            }


def _joined(now: dict[str, Any] | None, kept: KeptRefusals | None) -> dict[str, Any] | None:
    """The disk counts this run's too, as far as it has them already."""
    if kept is None:
        return now
    before = {
        "count": kept.count,
        "first": kept.first,
        "last": kept.last,
        "reason": kept.reason,
        "rule": kept.rule,
        "asker": str(kept.asker),
    }
    if now is None:
        return before
    asker = now["asker"] or before["asker"]
    first = min(now["first"], kept.first)
    return {**now, "count": max(now["count"], kept.count), "first": first, "asker": asker}


def _learnt(daemon: Daemon, item: Learnt) -> dict[str, Any]:
    return {
        "name": to_text(item.name),
        "chain": [to_text(name) for name in item.chain],
        "address": addr_text(item.addr),
        "rule": daemon.reporter.rule_text(RuleId(item.rule)),
        "first": item.first,
        "last": item.last,
        "times": item.times,
        "seconds": (item.until - daemon.now()) // SECOND,  # below zero: it is over
    }
