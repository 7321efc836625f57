"""Stand-ins for what the engine must not touch: chance, and the kernel's grants table."""

from __future__ import annotations

from dataclasses import dataclass, field

from dnsfw.model import DEFAULT_RULE, Addr, Entry, Grant, Nanos, RoleId, Verdict
from dnsfw.policy.policy import RolePolicy


@dataclass
class FixedRng:
    """Ids one after the other: a test can see that each is fresh."""

    last: int = 0x1000

    def getrandbits(self, k: int, /) -> int:
        drawn = 0
        for at in range(0, k, 16):
            self.last += 1
            drawn |= (self.last & 0xFFFF) << at
        return drawn & ((1 << k) - 1)


@dataclass
class KernelTable:
    """The grants table as the kernel reads it, with the clock as an argument."""

    capacity: int = 1 << 20
    entries: dict[tuple[RoleId, Addr], tuple[Grant, ...]] = field(default_factory=dict)
    refuses: int = 0  # so many of the next writes fail

    def write(self, entries: tuple[Entry, ...]) -> bool:
        """False when something could not be written; what fits is there all the same."""
        for entry in entries:
            key = (entry.role, entry.addr)
            if not entry.grants:
                self.entries.pop(key, None)
            elif self.refuses or (key not in self.entries and self.full):
                self.refuses = max(0, self.refuses - 1)
                return False
            else:
                assert len(entry.grants) <= 4, "a fifth slot"
                assert all(len(g.ports.ranges) <= 16 for g in entry.grants), "a 17th range"
                self.entries[key] = entry.grants
        return True

    @property
    def full(self) -> bool:
        return len(self.entries) >= self.capacity

    def live(self, role: RoleId, addr: Addr, now: Nanos) -> list[Grant]:
        return [g for g in self.entries.get((role, addr), ()) if g.until > now]

    def lets(self, policy: RolePolicy, addr: Addr, proto: int, port: int, now: Nanos) -> bool:
        """The kernel's order: address rule, closing grant, opening grant, default."""
        if (fixed := policy.judge_addr(addr, proto, port)) is not None:
            return fixed.verdict is Verdict.ALLOW
        live = [g for g in self.live(policy.role, addr, now) if g.ports.covers(proto, port)]
        for verdict in (Verdict.DENY, Verdict.ALLOW):
            if any(g.verdict is verdict for g in live):
                return verdict is Verdict.ALLOW
        return policy.default is Verdict.ALLOW and not policy.resolved_only

    def opens(self, policy: RolePolicy, addr: Addr, now: Nanos) -> bool:
        """Whether any port of the address can be reached."""
        edges = {(proto, port) for proto in (6, 17, 1) for port in (0, 65535)}
        for grant in self.entries.get((policy.role, addr), ()):
            for r in grant.ports.ranges:
                if grant.rule != DEFAULT_RULE or r.proto in (1, 6, 17):
                    edges |= {(r.proto, r.low), (r.proto, r.high)}
        for share in policy.addr_shares(addr):
            for r in share.ports.ranges:
                if r.proto in (1, 6, 17):
                    edges |= {(r.proto, p) for p in (r.low - 1, r.low, r.high, r.high + 1)}
        return any(self.lets(policy, addr, proto, port, now) for proto, port in edges)
