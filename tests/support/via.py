"""What a compiled policy says to a user's packet by an interface: `uid` and `via` subjects."""

from __future__ import annotations

from dnsfw.model import HOST, RoleId, SubjectKind, Verdict, addr_from
from dnsfw.policy.policy import Policy

_TCP = 6


def reaches(policy: Policy, user: str, interface: str, address: str, port: int = 443) -> bool:
    """As the kernel decides: the socket's role by its user, then what it becomes by the way."""
    role = _role_of(policy, user)
    judged = role
    for subject in policy.subjects:
        if subject.kind is SubjectKind.VIA and (subject.value, subject.base) == (interface, role):
            judged = subject.role
    found = policy.roles[judged]
    decision = found.judge_addr(addr_from(address), _TCP, port)
    return (decision.verdict if decision is not None else found.default) is Verdict.ALLOW


def _role_of(policy: Policy, user: str) -> RoleId:
    for subject in policy.subjects:
        if subject.kind is SubjectKind.UID and subject.value == user:
            return subject.role
    return HOST
