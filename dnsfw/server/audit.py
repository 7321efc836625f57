"""`mode: audit` is never quiet: what it lets pass is said at each start and every hour (row 140).

A role in audit refuses nothing. Its refused names are looked up and answered, so of such
a role promise 7 ("denied names go nowhere") does not hold.
"""

from __future__ import annotations

from collections.abc import Callable

from dnsfw.datapath.abi import Mode
from dnsfw.model import SECOND
from dnsfw.policy.policy import Policy
from dnsfw.server.clock import Now

__all__ = ["AuditReminder", "audit_text", "audited_roles"]

EVERY = 3600 * SECOND


def audited_roles(policy: Policy) -> tuple[str, ...]:
    """The names of the roles that only watch."""
    return tuple(role.name for role in policy.roles.values() if role.mode is Mode.AUDIT)


def audit_text(policy: Policy) -> str:
    """What to say of them, loudly; empty where every role enforces."""
    roles = audited_roles(policy)
    if not roles:
        return ""
    if len(policy.roles) == 1 and policy.host.mode is Mode.AUDIT:
        return "AUDIT: nothing is refused"
    alone = "role" if len(roles) == 1 else "roles"
    return f"AUDIT: nothing is refused to {alone} {', '.join(roles)}"


class AuditReminder:
    """Call `look` as often as you like."""

    def __init__(self, policy: Callable[[], Policy], warn: Callable[[str], None], now: Now) -> None:
        self._policy = policy
        self._warn = warn
        self._now = now
        self._last = now()

    def look(self) -> None:
        if self._now() - self._last < EVERY:
            return
        self._last = self._now()
        if text := audit_text(self._policy()):
            self._warn(text)
