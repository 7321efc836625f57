"""The daemon's state as plain rows, ready for JSON: what `status`, `grants`, `flows` show."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dnsfw import __version__
from dnsfw.datapath import abi
from dnsfw.datapath.abi import Mode, Reason
from dnsfw.model import PROBE, SECOND, Flow, Lockdown, PortSet, addr_text
from dnsfw.server.loop import loop_name
from dnsfw.server.reporter import protocol_text, reason_text, role_text
from dnsfw.wire.name import to_text

if TYPE_CHECKING:
    from dnsfw.server.daemon import Daemon

__all__ = ["flow_rows", "grant_rows", "ports_text", "status"]


def status(daemon: Daemon) -> dict[str, Any]:
    """Everything an operator looks at first."""
    kernel, service, policy = daemon.kernel, daemon.service, daemon.reloader.policy
    locked = kernel.sink.locked
    hooks = kernel.hooks()
    missing = [f"{h.name} on {h.where}: {h.note or 'removed'}" for h in hooks if not h.attached]
    mode = policy.host.mode
    left = daemon.trial.left
    return {
        "version": __version__,
        "pid": os.getpid(),
        "seconds": (daemon.now() - daemon.began) // SECOND,
        "policy": daemon.reloader.path,
        "policy_stale": daemon.reloader.stale,
        "mode": mode.name.lower(),
        "default": policy.host.default.name.lower(),
        "lockdown": locked.name.lower(),
        "enforcing": _enforcing(mode, bool(hooks) and not missing, locked),
        "missing": missing,
        "trial": None if left is None else round(left, 1),
        "backend": kernel.backend,
        "loop": loop_name(asyncio.get_running_loop()),
        "hooks": [asdict(hook) for hook in hooks],
        "listen": [str(endpoint) for endpoint in service.listeners.endpoints],
        "upstreams": [str(endpoint) for endpoint in service.upstreams.targets],
        "packets": _packets(kernel.sink.counters()),
        "dns": dict(service.engine.stats()),
        "server": _server(daemon),
    }


def _enforcing(mode: Mode, attached: bool, locked: Lockdown) -> bool:
    """Is what the policy refuses refused, by every hook that was wanted?"""
    return attached and (mode is Mode.ENFORCE or locked is not Lockdown.OFF)


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
    udp, tcp = service.listeners.udp, service.listeners.tcp
    return {
        "udp_unsent": sum(listener.unsent for listener in udp),
        "udp_oversized": sum(listener.truncated for listener in udp),
        "tcp_connections": sum(len(listener.connections) for listener in tcp),
        "tcp_evicted": sum(listener.evicted for listener in tcp),
        "asks": service.upstreams.asked,
        "asks_open": len(service.upstreams),
        "asks_refused": service.upstreams.refused,
        "unwritten": service.performer.unwritten,
        "journal_failed": daemon.journal.failed,
        "faults": daemon.faults.count,
        "last_fault": daemon.faults.last,
    }


def grant_rows(daemon: Daemon) -> Iterator[dict[str, Any]]:
    """One row a grant: who holds the address, by which rule, until when."""
    now = daemon.now()
    for row in daemon.service.engine.grants(now):
        yield {
            "role": role_text(row.role),
            "address": addr_text(row.addr),
            "names": [to_text(name) for name in row.names],
            "verdict": row.grant.verdict.name.lower(),
            "ports": ports_text(row.grant.ports),
            "rule": daemon.reporter.rule_text(row.grant.rule),
            "seconds": max(0, (row.grant.until - now) // SECOND),
        }


def flow_rows(daemon: Daemon) -> Iterator[dict[str, Any]]:
    """One row a conversation that was allowed when it began; the self-test's are nobody's."""
    now = daemon.now()
    for flow in daemon.kernel.sink.flows():
        if flow.role != PROBE:
            yield _flow_row(daemon, flow, now)


def _flow_row(daemon: Daemon, flow: Flow, now: int) -> dict[str, Any]:
    names = daemon.service.engine.last_names(flow.role, flow.remote)
    return {
        "role": role_text(flow.role),
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
