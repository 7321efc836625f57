"""What a daemon says when it stands: its warnings, then the one `ready` line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dnsfw.server.audit import audit_text

if TYPE_CHECKING:
    from dnsfw.server.daemon import Daemon

__all__ = ["ready_line", "warnings_at_start"]


def warnings_at_start(daemon: Daemon) -> Iterator[str]:
    """What an operator should know before they believe the line below."""
    policy = daemon.reloader.policy
    yield from map(str, (*policy.warnings, *daemon.service.unassigned))
    for hook in daemon.kernel.hooks():
        if not hook.attached:
            yield f"degraded: {hook.name} on {hook.where} is missing: {hook.note}"
    if audit := audit_text(policy):
        yield audit


def ready_line(daemon: Daemon) -> str:
    """Which policy is in force, where it is asked, and what it does not do."""
    listening = ", ".join(map(str, daemon.service.listeners.endpoints))
    line = f"ready: guarding with {daemon.reloader.path} on {listening}"
    if not daemon.kernel.enforcing:
        line += ", NAMES ONLY: nothing stops addresses"
    if daemon.service.workers is not None:
        line += f", answered by {1 + len(daemon.service.workers)} processes"
    if audit := audit_text(daemon.reloader.policy):
        line += f", {audit}"
    if daemon.options.trial is not None:
        line += f"; undone in {daemon.options.trial:.0f} s unless `dnsfw confirm`"
    return line
