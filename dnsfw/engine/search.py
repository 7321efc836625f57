"""What a stub makes of an allowed name by its search list (resolv.conf(5)).

glibc and musl go on to the next name of the list after NXDOMAIN alone. After REFUSED both give
up, and musl does after an answer without data; an address is an answer. So a refusal in any
other form (`dns.refuse`) would hide the name itself, which the stub asks for last.
"""

from __future__ import annotations

from dnsfw.model import Name, Verdict
from dnsfw.policy.policy import RolePolicy
from dnsfw.wire.name import labels

__all__ = ["expands"]

_DEEPEST = 16  # labels of a name that is tried: no more than a client can make costly


def expands(name: Name, policy: RolePolicy) -> bool:
    """Whether a name that no rule speaks for is one that a rule allows, and a domain behind it."""
    if policy.judge(name).rule is not None:
        return False
    parts = labels(name)
    for count in range(min(len(parts) - 1, _DEEPEST), 0, -1):
        front = Name(b"".join(bytes((len(p),)) + p for p in parts[:count]) + bytes(1))
        shares = policy.judge(front).shares
        if any(s.rule is not None and s.verdict is Verdict.ALLOW for s in shares):
            return True
    return False
