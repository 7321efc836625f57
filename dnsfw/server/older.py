"""The connections that are older than the wall, or than a socket's role.

No hook saw them begin. Those that a listener of this host accepted become inbound flows,
so that nobody's ssh dies of `dnsfw up`. Outgoing ones (TCP, and UDP that is connected)
that the policy refuses to the role of their socket are ended, so that they fail at once
instead of hanging; the others are judged by their next packet like any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dnsfw.datapath import abi
from dnsfw.datapath.abi import FlowState, Mode, Reason, Verdict
from dnsfw.datapath.sockdiag import UDP, Connection, split
from dnsfw.model import HOST, Addr, Nanos, RoleId, addr_text
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.values import dataclass

__all__ = ["Older", "Owner", "describe", "flow_of", "sort_changed", "sort_older"]

_MAPPED = bytes(10) + b"\xff\xff"

# Whose a socket is; None where the wall does not see it.
Owner = Callable[[Connection], RoleId | None]


@dataclass(frozen=True, slots=True)
class Older:
    """What is to be done with them, each with its role."""

    keep: tuple[tuple[Connection, RoleId], ...]  # as inbound flows
    end: tuple[tuple[Connection, RoleId], ...]


def sort_older(found: Iterable[Connection], policy: Policy, owner: Owner) -> Older:
    accepted, outgoing = split(list(found))
    return Older(
        tuple((c, role) for c in accepted if (role := owner(c)) is not None),
        tuple(
            (c, role)
            for c in outgoing
            if (role := owner(c)) is not None and _refused(c, policy, role)
        ),
    )


def sort_changed(
    found: Iterable[Connection], policy: Policy, before: Owner, after: Owner
) -> tuple[tuple[Connection, RoleId], ...]:
    """The outgoing ones that have another role now, which refuses them."""
    _, outgoing = split(list(found))
    return tuple(
        (c, role)
        for c in outgoing
        if (role := after(c)) is not None and role != before(c) and _refused(c, policy, role)
    )


def flow_of(connection: Connection, role: RoleId, netns: int, now: Nanos) -> tuple[bytes, bytes]:
    """Key and value of the inbound flow, as the kernel would have written them."""
    reason = Reason.LOOPBACK if is_loopback(connection.remote) else Reason.INBOUND
    key = abi.FlowKey(
        netns, bytes(16), connection.remote, connection.local_port, connection.remote_port,
        connection.proto, 0,
    )  # fmt: skip
    return key.pack(), abi.Flow(now, now, role, 0, 0, FlowState.OPEN, reason).pack()


def describe(connection: Connection, role: RoleId, policy: Policy) -> str:
    host = addr_text(connection.remote)
    where = f"[{host}]" if ":" in host else host
    proto = "/udp" if connection.proto == UDP else ""
    named = policy.roles.get(role)
    whose = "the policy" if role == HOST else f"role {named.name if named else int(role)}"
    return f"ended the connection to {where}:{connection.remote_port}{proto}: {whose} refuses it"


def is_loopback(addr: Addr) -> bool:
    return addr == bytes(15) + b"\x01" or addr.startswith(_MAPPED + b"\x7f")


def _refused(connection: Connection, policy: Policy, role: RoleId) -> bool:
    """No name can have opened anything yet: only address rules and the default speak."""
    if is_loopback(connection.remote):
        return False
    named: RolePolicy | None = policy.roles.get(role)
    if named is None:  # a role that is no more
        return True
    if named.mode is Mode.AUDIT:
        return False
    decision = named.judge_addr(connection.remote, connection.proto, connection.remote_port)
    if decision is not None:
        return decision.verdict is Verdict.DENY
    return named.default is Verdict.DENY or named.resolved_only
