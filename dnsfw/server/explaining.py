"""The verb `explain`: what policy and ledger say now, and what the history has of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dnsfw.engine.effects import Note
from dnsfw.engine.explain import explain_for
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
from dnsfw.policy.explained import explained_row, rule_row
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import KNOWN
from dnsfw.server.history import History, Learnt, Seen
from dnsfw.server.reporter import protocol_text
from dnsfw.server.resolve import role_named
from dnsfw.server.views import ports_text
from dnsfw.wire.name import to_text

if TYPE_CHECKING:
    from dnsfw.server.control import Row
    from dnsfw.server.daemon import Daemon

__all__ = ["explain"]

_MOST = 50  # rows of each kind: an answer for people


def explain(daemon: Daemon, request: Row) -> dict[str, Any]:
    """By `destination` and `role`, or by the number of an `event`. ConfigError for neither."""
    policy, history = daemon.reloader.policy, daemon.reporter.history
    told: dict[str, Any] = {}
    if (number := request.get("event")) is not None:
        seen = history.event(number) if isinstance(number, int) else None
        if seen is None:
            raise ConfigError(f"no event {number!r} is remembered; `dnsfw watch --json` has the id")
        told["event"] = {"id": number, "at": seen.at, **daemon.reporter.row(seen.what)}
        role = policy.roles.get(History.role_of(seen))
        if role is None:
            raise ConfigError("the event's role is not in the policy any more")
        if seen.names:
            told["event"]["names"] = [to_text(name) for name in seen.names]
        asked = _destination(seen)
    else:
        role = role_named(policy, request.get("role", "host"))
        asked = parse_asked(str(request.get("destination", "")))
    return {**_now(daemon, role, asked), **_past(daemon, role, asked), **told}


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


def _now(daemon: Daemon, role: RolePolicy, asked: Asked) -> dict[str, Any]:
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
        **explained_row(found),
        "policy": daemon.reloader.path,
        "stale": daemon.reloader.stale,
        "grants": rows[:_MOST],
        "flows": flows[role.role],
    }


def _past(daemon: Daemon, role: RolePolicy, asked: Asked) -> dict[str, Any]:
    history = daemon.reporter.history
    addr = Addr(asked.to) if asked.is_addr else None
    name = None if asked.is_addr else Name(asked.to)
    refused = history.refused(role.role, asked.to)
    learnt = [
        _learnt(daemon, item)
        for item, _ in zip(
            history.learnt(role.role, name=name, addr=addr), range(_MOST), strict=False
        )
    ]
    return {
        "learnt": learnt,
        "refused": None
        if refused is None
        else {"count": refused.count, "first": refused.first, "last": refused.last},
    }


def _learnt(daemon: Daemon, item: Learnt) -> dict[str, Any]:
    return {
        "name": to_text(item.name),
        "chain": [to_text(name) for name in item.chain],
        "address": addr_text(item.addr),
        "rule": daemon.reporter.rule_text(RuleId(item.rule)),
        "first": item.first,
        "last": item.last,
        "asker": item.asker,
        "times": item.times,
        "seconds": (item.until - daemon.now()) // SECOND,  # below zero: it is over
    }
