"""Whose query is it? The one place that turns what the kernel says into a role.

The hook that sees a packet for a listener of ours overwrites its mark with the sender's
role. Nobody can choose his own: a guarded process that sets SO_MARK is overwritten, and
who is not guarded has no mark, so the engine refuses him (reason UNKNOWN_ASKER).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dnsfw.model import HOST, NO_ROLE, Limit, RoleId, abi

__all__ = ["EVERYBODY_IS_HOST", "Askers", "MarkedAskers"]


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


class _EverybodyIsHost:
    """Without hooks there are no roles to tell apart (`--dns-only`)."""

    def by_mark(self, mark: int) -> RoleId:
        return HOST

    def by_connection(self, cookie: int) -> RoleId:
        return HOST


EVERYBODY_IS_HOST: Askers = _EverybodyIsHost()
