"""Whose query is it? The one place that turns what the kernel says into a role.

The hook that sees a packet for a listener of ours overwrites its mark with the sender's
role. Nobody can choose his own: a guarded process that sets SO_MARK is overwritten, and
who is not guarded has no mark, so the engine refuses him (reason UNKNOWN_ASKER).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dnsfw.model import HOST, NO_ROLE, Limit, RoleId, abi

__all__ = ["EVERYBODY_IS_HOST", "Askers", "AskersElsewhere", "MarkedAskers"]


class Askers(Protocol):
    """Tells who asks. A role that the policy does not have is the engine's to refuse."""

    def by_mark(self, mark: int) -> RoleId:
        """Of a datagram that carries this mark."""

    def by_connection(self, cookie: int) -> RoleId:
        """Of what came last over the connection whose socket has this cookie."""


class MarkedAskers:
    """What the hooks say. A mark that cannot be a role is somebody else's: nobody known."""

    def __init__(self, asker: Callable[[int], RoleId]) -> None:
        """`asker` is the kernel's: the mark that came over a connection."""
        self._asker = asker

    def by_mark(self, mark: int) -> RoleId:
        named = abi.RoleId.FIRST <= mark < Limit.MAX_ROLES
        return RoleId(mark) if named or mark == HOST else NO_ROLE

    def by_connection(self, cookie: int) -> RoleId:
        return self.by_mark(self._asker(cookie))


class AskersElsewhere:
    """Of a network namespace that is not ours. Its root, who may be anybody, rewrites marks
    there by rules of his own: one counts only for a role that the hooks saw ask there.
    """

    def __init__(self, askers: Askers, has_asked: Callable[[RoleId], bool]) -> None:
        self._askers = askers
        self._has_asked = has_asked
        self._known: set[RoleId] = set()

    def by_mark(self, mark: int) -> RoleId:
        return self._checked(self._askers.by_mark(mark))

    def by_connection(self, cookie: int) -> RoleId:
        return self._checked(self._askers.by_connection(cookie))

    def _checked(self, role: RoleId) -> RoleId:
        if role not in self._known:
            if role == NO_ROLE or not self._has_asked(role):
                return NO_ROLE
            self._known.add(role)
        return role


class _EverybodyIsHost:
    """Without hooks there are no roles to tell apart (`--dns-only`)."""

    def by_mark(self, mark: int) -> RoleId:
        return HOST

    def by_connection(self, cookie: int) -> RoleId:
        return HOST


EVERYBODY_IS_HOST: Askers = _EverybodyIsHost()
