"""The TCP connections that are older than the wall: no hook saw them begin.

Those that a listener of this host accepted become inbound flows, so that nobody's ssh
dies of `dnsfw up`. Outgoing ones that the policy refuses are ended, so that they fail at
once instead of hanging; the others are judged by their next packet like any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dnsfw.datapath import abi
from dnsfw.datapath.abi import FlowState, Mode, Reason, Verdict
from dnsfw.datapath.sockdiag import Connection, split
from dnsfw.model import HOST, Addr, Nanos, addr_text
from dnsfw.policy.policy import RolePolicy

__all__ = ["Older", "describe", "flow_of", "sort_older"]

_TCP = 6
_MAPPED = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Older:
    """What is to be done with them."""

    keep: tuple[Connection, ...]  # as inbound flows
    end: tuple[Connection, ...]


def sort_older(
    found: Iterable[Connection], policy: RolePolicy, guarded: frozenset[int] | None
) -> Older:
    """`guarded` are the ids of the guarded cgroups; None where the wall sees every socket."""
    accepted, outgoing = split(list(found))
    return Older(
        tuple(c for c in accepted if _ours(c, guarded)),
        tuple(c for c in outgoing if _ours(c, guarded) and _refused(c, policy)),
    )


def flow_of(connection: Connection, netns: int, now: Nanos) -> tuple[bytes, bytes]:
    """Key and value of the inbound flow, as the kernel would have written them."""
    reason = Reason.LOOPBACK if is_loopback(connection.remote) else Reason.INBOUND
    key = abi.FlowKey(
        netns, bytes(16), connection.remote, connection.local_port, connection.remote_port, _TCP, 0
    )
    return key.pack(), abi.Flow(now, now, HOST, 0, 0, FlowState.OPEN, reason).pack()


def describe(connection: Connection) -> str:
    host = addr_text(connection.remote)
    where = f"[{host}]" if ":" in host else host
    return f"ended the connection to {where}:{connection.remote_port}: the policy refuses it"


def is_loopback(addr: Addr) -> bool:
    return addr == bytes(15) + b"\x01" or addr.startswith(_MAPPED + b"\x7f")


def _ours(connection: Connection, guarded: frozenset[int] | None) -> bool:
    return guarded is None or connection.cgroup in guarded


def _refused(connection: Connection, policy: RolePolicy) -> bool:
    """No name can have opened anything yet: only address rules and the default speak."""
    if is_loopback(connection.remote) or policy.mode is Mode.AUDIT:
        return False
    decision = policy.judge_addr(connection.remote, _TCP, connection.remote_port)
    if decision is not None:
        return decision.verdict is Verdict.DENY
    return policy.default is Verdict.DENY or policy.resolved_only
