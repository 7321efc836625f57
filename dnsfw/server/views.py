"""The daemon's state as plain rows, ready for JSON: what `status`, `grants`, `flows` show."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dnsfw import __version__
from dnsfw.datapath import abi
from dnsfw.datapath.abi import Reason
from dnsfw.model import NO_ROLE, PROBE, SECOND, Flow, Lockdown, PortSet, RoleId, addr_text
from dnsfw.server.answer_views import answers_view
from dnsfw.server.audit import audit_text, audited_roles
from dnsfw.server.escape import safe
from dnsfw.server.loop import loop_name
from dnsfw.server.reporter import protocol_text, reason_text
from dnsfw.server.role_views import role_rows
from dnsfw.server.tcp import TcpListener
from dnsfw.server.udp import UdpListener
from dnsfw.server.upstream_views import upstream_rows
from dnsfw.wire.name import to_text

if TYPE_CHECKING:
    from dnsfw.server.daemon import Daemon

__all__ = ["flow_rows", "grant_rows", "ports_text", "status"]


def status(daemon: Daemon, flows: Mapping[int, int] | None = None) -> dict[str, Any]:
    """Everything an operator looks at first; `flows` are how many each role has."""
    kernel, service, policy = daemon.kernel, daemon.service, daemon.reloader.policy
    locked = kernel.sink.locked
    hooks = kernel.hooks()
    missing = [f"{h.name} on {h.where}: {h.note or 'removed'}" for h in hooks if not h.attached]
    left = daemon.trial.left
    holes = list(_holes(daemon, bool(hooks), missing))
    return {
        "version": __version__,
        "pid": os.getpid(),
        "seconds": (daemon.now() - daemon.began) // SECOND,
        "policy": daemon.reloader.path,
        "policy_stale": daemon.reloader.stale,
        "mode": policy.host.mode.name.lower(),
        "default": policy.host.default.name.lower(),
        "audit": list(audited_roles(policy)),
        "lockdown": locked.name.lower(),
        "enforcing": not holes or _nothing_leaves(daemon, missing),
        "not_enforcing": holes,
        "not_as_written": list(_not_as_written(daemon)),
        "missing": missing,
        "absent": [*kernel.absent(), *daemon.helping.missing],
        "helper": daemon.helping.wrong,
        "temporary": daemon.temporary.rows(),
        "remotes": daemon.remotes.rows(),
        "log": daemon.records.row(),
        "trial": None if left is None else round(left, 1),
        "tamper": daemon.tampering.row(),
        "takeover": {
            "namespaces": daemon.doors.namespaces,
            "given_up": daemon.doors.given_up,
        },
        "resolv_conf": daemon.resolv_watch.wrong,
        "backend": kernel.backend,
        "loop": loop_name(asyncio.get_running_loop()),
        "roles": role_rows(daemon, flows or {}),
        "hooks": [asdict(hook) for hook in hooks],
        "listen": [str(endpoint) for endpoint in service.listeners.endpoints],
        "upstreams": [str(upstream) for upstream in service.upstreams.targets],
        "upstream_rows": upstream_rows(
            service.upstreams, service.engine.upstreams(daemon.now()), service.silent
        ),
        "packets": _packets(kernel.sink.counters()),
        "dns": dict(service.engine.stats()),
        "kernel_answers": answers_view(kernel, service.book, service.refusing),
        "workers": service.workers.rows() if service.workers is not None else [],
        "server": _server(daemon),
    }


def _holes(daemon: Daemon, hooked: bool, missing: list[str]) -> Iterator[str]:
    """Why something that the policy refuses may pass."""
    if not daemon.kernel.enforcing:
        yield "names only: nothing stops addresses (--dns-only)"
    elif not hooked:
        yield "no hook is attached"
    if missing:
        yield "degraded, " + "; ".join(missing)
    for row in daemon.temporary.rows():
        if row["word"] == "pause":
            role = row["role"] or "every role"
            yield f"PAUSED for {row['seconds']} s: {role}: {safe(row['reason'])}"
    if text := audit_text(daemon.reloader.policy):
        yield text


def _nothing_leaves(daemon: Daemon, missing: list[str]) -> bool:
    """A lockdown stops roles in audit, too."""
    locked = daemon.kernel.sink.locked is not Lockdown.OFF
    return locked and not missing and bool(daemon.kernel.hooks())


def _not_as_written(daemon: Daemon) -> Iterator[str]:
    """Why what is in force is not (or will not stay) what the policy file says."""
    if daemon.kernel.sink.locked is not Lockdown.OFF:
        what = "no name is answered" if daemon.options.dns_only else "nothing leaves"
        yield f"lockdown is on: {what}, whatever the policy allows"
    if daemon.reloader.stale:
        yield "the policy file was not loaded; the policy before it is in force"
    yield from daemon.remotes.wrong()
    if daemon.helping.wrong:
        yield f"programs do not get their roles: {daemon.helping.wrong}"
    if daemon.trial.left is not None:
        yield "this is a trial, undone unless `dnsfw confirm` comes"


def _packets(counters: dict[abi.Reason, abi.Counter]) -> dict[str, dict[str, int]]:
    """By reason; left out are reasons that never happened, and the self-test's own packets."""
    return {
        reason_text(reason): {
            "allowed": counter.allowed,
            "denied": counter.denied,
            "audited": counter.audited,
            "sampled_out": counter.sampled_out,
        }
        for reason, counter in counters.items()
        if any(counter) and reason is not Reason.BY_NOTHING
    }


def _server(daemon: Daemon) -> dict[str, Any]:
    """What the sockets and the process lost, refused or suffered."""
    service = daemon.service
    listeners = [*service.listeners, *daemon.doors.listeners]
    udp = [one for one in listeners if isinstance(one, UdpListener)]
    tcp = [one for one in listeners if isinstance(one, TcpListener)]
    return {
        "udp_unsent": sum(listener.unsent for listener in udp),
        "udp_oversized": sum(listener.truncated for listener in udp),
        "udp_dropped": sum(service.rates.dropped.values()),
        "strangers": service.neighbours.strangers,
        "unknown_askers": daemon.reporter.counts[NO_ROLE, "refused"],
        "tcp_connections": sum(len(listener.connections) for listener in tcp),
        "tcp_evicted": sum(listener.evicted for listener in tcp),
        "asks": service.upstreams.asked,
        "asks_open": len(service.upstreams),
        "asks_refused": service.upstreams.refused,
        "unwritten": service.performer.unwritten,
        "journal_failed": daemon.journal.failed,
        "roles_unwritten": daemon.names.failed,
        "faults": daemon.faults.count,
        "last_fault": daemon.faults.last,
    }


def grant_rows(daemon: Daemon, role: RoleId | None = None) -> Iterator[dict[str, Any]]:
    """One row a grant: who holds the address, by which rule, until when; of one role or all."""
    now = daemon.now()
    for row in daemon.service.engine.grants(now):
        if role not in {None, row.role}:
            continue
        yield {
            "role": daemon.names.text(row.role),
            "address": addr_text(row.addr),
            "names": [to_text(name) for name in row.names],
            "verdict": row.grant.verdict.name.lower(),
            "ports": ports_text(row.grant.ports),
            "rule": daemon.reporter.rule_text(row.grant.rule),
            "seconds": max(0, (row.grant.until - now) // SECOND),
        }


def flow_rows(daemon: Daemon, role: RoleId | None = None) -> Iterator[dict[str, Any]]:
    """One row a conversation that was allowed when it began; the self-test's are nobody's."""
    now = daemon.now()
    for flow in daemon.kernel.sink.flows():
        if flow.role != PROBE and role in {None, flow.role}:
            yield _flow_row(daemon, flow, now)


def _flow_row(daemon: Daemon, flow: Flow, now: int) -> dict[str, Any]:
    names = daemon.service.engine.last_names(flow.role, flow.remote)
    return {
        "role": daemon.names.text(flow.role),
        "direction": "in" if flow.inbound else "out",
        "protocol": protocol_text(flow.proto),
        "local": addr_text(flow.local),
        "local_port": flow.local_port,
        "address": addr_text(flow.remote),
        "port": flow.remote_port,
        "names": [to_text(name) for name in names],
        "state": flow.state.name.lower(),
        "reason": reason_text(flow.reason),
        "rule": daemon.reporter.rule_text(flow.rule),
        "age": max(0, (now - flow.since) // SECOND),
        "idle": max(0, (now - flow.seen) // SECOND),
    }


def ports_text(ports: PortSet) -> str:
    """`443/tcp`, `80,8000-8100/tcp 53/udp`, `icmp`: grouped by protocol."""
    groups: dict[int, list[str]] = {}
    for item in ports.ranges:
        text = f"{item.low}" if item.low == item.high else f"{item.low}-{item.high}"
        groups.setdefault(item.proto, []).append("" if text == "0-65535" else text)
    return " ".join(
        f"{','.join(texts)}/{protocol_text(proto)}" if any(texts) else protocol_text(proto)
        for proto, texts in groups.items()
    )
