"""Processes that are given a role by hand: by `dnsfw enroll`, or over the older tool's socket.

The helper moves them and gives their sockets the role; which connections the role refuses
is judged here, where the policy is, and these are ended at once instead of hanging.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from dnsfw.datapath.abi import Mode, Verdict
from dnsfw.datapath.relabel import HeldSocket
from dnsfw.errors import ConfigError
from dnsfw.model import HOST, Addr, Grant, addr_from
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.server.helper import Enrolled, Helper
from dnsfw.server.older import is_loopback
from dnsfw.values import dataclass

__all__ = ["Done", "Enrollments", "refused"]

_LAST_PID = 1 << 22  # PID_MAX_LIMIT
# What names have opened (and closed) for a role on an address.
Granted = Callable[[RolePolicy, Addr], Iterable[Grant]]
Said = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of the process, for who asked."""

    role: str
    cgroup: str
    pids: tuple[int, ...]
    sockets: int  # that have the role now
    ended: int  # connections that the role refuses
    notes: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        return asdict(self)


class Enrollments:
    """One at a time: two for the same process would race for its sockets."""

    def __init__(
        self, helper: Helper, policy: Callable[[], Policy], granted: Granted, said: Said
    ) -> None:
        self._helper = helper
        self._policy = policy
        self._granted = granted
        self._said = said
        self._turn = asyncio.Lock()

    async def enroll(self, pid: int, name: str, *, force: bool = False) -> Done:
        """ConfigError: no such role or process, a unit that is not delegated. DatapathError."""
        async with self._turn:
            role = _role_named(self._policy(), name)
            if role.role == HOST:
                done = await asyncio.to_thread(self._helper.unenroll, pid)
            else:
                done = await asyncio.to_thread(
                    lambda: self._helper.enroll(pid, role.role, role.name, force=force)
                )
            return await self._settle(done)

    async def enroll_number(self, pid: int, number: int | str) -> Done:
        """The same for who names a role as an older tool's policy did: by its number."""
        policy = self._policy()
        if isinstance(number, str):
            return await self.enroll(pid, number)
        if (role := policy.numbers.get(number)) is None:
            known = ", ".join(f"{n} ({policy.roles[r].name})" for n, r in policy.numbers.items())
            raise ConfigError(
                f"there is no role {number}; there are: {known or 'none with a number'}; "
                "a role's name will do too"
            )
        return await self.enroll(pid, policy.roles[role].name)

    async def _settle(self, done: Enrolled) -> Done:
        """By the policy that is in force when the sockets have the role."""
        role = self._policy().roles.get(done.role)
        end = [s for s in done.sockets if role is None or refused(s, role, self._granted)]
        ended = await asyncio.to_thread(self._helper.end_sockets, end)
        title = role.name if role is not None else str(int(done.role))
        self._said("enrolled", f"{_processes(done.pids)}: role {title}, cgroup {done.cgroup}")
        return Done(title, done.cgroup, done.pids, len(done.sockets), ended, done.notes)


def refused(held: HeldSocket, role: RolePolicy, granted: Granted) -> bool:
    """Whether this connection, begun now, would be refused. What was accepted stays."""
    if not held.outgoing or not held.remote or role.mode is Mode.AUDIT:
        return False
    addr = addr_from(held.remote)
    if is_loopback(addr):
        return False
    if (decision := role.judge_addr(addr, held.proto, held.port)) is not None:
        return decision.verdict is Verdict.DENY
    verdicts = {g.verdict for g in granted(role, addr) if g.ports.covers(held.proto, held.port)}
    if verdicts:
        return Verdict.DENY in verdicts
    return role.default is Verdict.DENY or role.resolved_only


def wanted(request: Mapping[str, Any]) -> tuple[int, str, bool]:
    """Process, role and force of a request. ConfigError."""
    pid, role, force = request.get("pid"), request.get("role"), request.get("force", False)
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid <= _LAST_PID:
        raise ConfigError("a process is named by its number: --pid 1234")
    if not isinstance(role, str):
        raise ConfigError("name a role: --role web")
    return pid, role, force is True


def _role_named(policy: Policy, name: str) -> RolePolicy:
    for role in policy.roles.values():
        if role.name == name:
            return role
    known = ", ".join(role.name for role in policy.roles.values())
    raise ConfigError(f"there is no role {name!r}; there are: {known}")


def _processes(pids: tuple[int, ...]) -> str:
    if len(pids) == 1:
        return f"process {pids[0]}"
    return f"process {pids[0]} and {len(pids) - 1} of its children"
