"""The values that every layer shares: no I/O, no clock, no DNS parsing.

Units are in the types: `Nanos` is CLOCK_BOOTTIME nanoseconds, `Name` is the
canonical wire form of a domain name, `Addr` is 16 bytes with IPv4 mapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, NewType

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Inbound, Limit, Lockdown, Loopback, Mode, Rank, Reason, Verdict
from dnsfw.values import dataclass

__all__ = [
    "DEFAULT_RULE",
    "HOST",
    "NO_ROLE",
    "PROBE",
    "SECOND",
    "Addr",
    "Entry",
    "FixedEntry",
    "FixedRule",
    "Flow",
    "Grant",
    "Inbound",
    "Limit",
    "Lockdown",
    "Loopback",
    "Mode",
    "Name",
    "Nanos",
    "Plan",
    "PortRange",
    "PortSet",
    "Rank",
    "Reason",
    "RoleId",
    "RolePlan",
    "RuleId",
    "Subject",
    "SubjectKind",
    "Verdict",
    "abi",
    "addr_from",
    "addr_text",
]

Name = NewType("Name", bytes)  # uncompressed, ASCII lower case, ends with the root's zero octet
Nanos = NewType("Nanos", int)
Addr = NewType("Addr", bytes)
RoleId = NewType("RoleId", int)
RuleId = NewType("RuleId", int)

SECOND = 1_000_000_000  # nanoseconds
NO_ROLE = RoleId(abi.RoleId.NONE)
HOST = RoleId(abi.RoleId.HOST)
PROBE = RoleId(abi.RoleId.PROBE)
DEFAULT_RULE = RuleId(abi.RuleId.DEFAULT)

_MAPPED = bytes(10) + b"\xff\xff"
_LAST_PORT = 65535


def addr_from(text: str | IPv4Address | IPv6Address) -> Addr:
    """The 16 bytes of an address, IPv4 as ::ffff:a.b.c.d. ValueError if it is none."""
    packed = ip_address(text).packed
    return Addr(packed if len(packed) == 16 else _MAPPED + packed)


def addr_text(addr: Addr) -> str:
    """An address as people write it: dotted for IPv4, RFC 5952 for IPv6."""
    if addr.startswith(_MAPPED):
        return str(IPv4Address(addr[12:]))
    return str(IPv6Address(addr))


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports low..high, both included, of one IP protocol (ICMP is 1, v6 too)."""

    proto: int
    low: int = 0
    high: int = _LAST_PORT


@dataclass(frozen=True, slots=True)
class PortSet:
    """A set of (protocol, port): ranges sorted, merged, never overlapping."""

    ranges: tuple[PortRange, ...] = ()

    @classmethod
    def of(cls, ranges: Iterable[PortRange]) -> PortSet:
        merged: list[PortRange] = []
        for item in sorted(ranges):
            last = merged[-1] if merged else None
            if last and last.proto == item.proto and item.low <= last.high + 1:
                merged[-1] = PortRange(last.proto, last.low, max(last.high, item.high))
            else:
                merged.append(item)
        return cls(tuple(merged))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def covers(self, proto: int, port: int) -> bool:
        return any(r.proto == proto and r.low <= port <= r.high for r in self.ranges)

    def union(self, other: PortSet) -> PortSet:
        return PortSet.of(self.ranges + other.ranges)

    def minus(self, other: PortSet) -> PortSet:
        left = list(self.ranges)
        for cut in other.ranges:
            left = [piece for r in left for piece in _without(r, cut)]
        return PortSet.of(left)

    def intersect(self, other: PortSet) -> PortSet:
        return self.minus(self.minus(other))


def _without(r: PortRange, cut: PortRange) -> Iterator[PortRange]:
    if r.proto != cut.proto or cut.high < r.low or r.high < cut.low:
        yield r
        return
    if r.low < cut.low:
        yield PortRange(r.proto, r.low, cut.low - 1)
    if cut.high < r.high:
        yield PortRange(r.proto, cut.high + 1, r.high)


class Grant(NamedTuple):
    """One slot of an entry: these ports are open (or closed) until then, by that rule."""

    until: Nanos
    rule: RuleId
    ports: PortSet
    verdict: Verdict


class Entry(NamedTuple):
    """All the grants that one role holds on one address: an element of the kernel's
    `grants` table, always written whole. At most `abi.Limit.SLOTS` grants; none deletes it.
    """

    role: RoleId
    addr: Addr
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True, slots=True)
class FixedRule:
    """What an address rule says of the ports it covers."""

    rule: RuleId
    ports: PortSet
    verdict: Verdict
    ends: bool = False  # counts while its rule is alive


@dataclass(frozen=True, slots=True)
class FixedEntry:
    """The whole ordered list for one prefix, rules of covering prefixes included: the
    first that covers a port decides. `bits` counts in the 128-bit form (IPv4: 96 + n).
    """

    role: RoleId
    addr: Addr
    bits: int
    rules: tuple[FixedRule, ...]


@dataclass(frozen=True, slots=True)
class RolePlan:
    """What the kernel must know of one role."""

    role: RoleId
    default: Verdict
    mode: Mode = Mode.ENFORCE
    resolved_only: bool = False
    inbound: Inbound = Inbound.ALL
    inbound_ports: PortSet = PortSet()
    loopback: Loopback = Loopback.ALL
    loopback_ports: PortSet = PortSet()
    takeover: bool = False
    audit_until: int = 0  # CLOCK_BOOTTIME seconds that AUDIT ends at by itself; 0: never


class SubjectKind(Enum):
    """What a role is assigned to; the value is the policy's key for it."""

    CGROUP = "cgroup"  # and everything below it
    EXECUTABLE = "executable"  # whoever runs this file, by inode
    UID = "uid"
    GID = "gid"  # the process's primary group
    SOURCE = "source"  # forwarded traffic from a prefix
    INTERFACE = "interface"  # forwarded traffic that comes in by it
    VIA = "via"  # what another role sends by an interface


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject of one role, as the policy wrote it: what the words mean is the host's."""

    role: RoleId
    kind: SubjectKind
    value: str  # a path or unit, a name or number, a prefix, an interface
    interface: str = ""  # of a source: only what comes in by it
    base: RoleId = NO_ROLE  # of a via: whose packets


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled policy as the kernel sees it: no names, only ids, ports and prefixes."""

    roles: tuple[RolePlan, ...]
    fixed: tuple[FixedEntry, ...]
    rules: frozenset[RuleId]  # every live id; an id that is missing here is dead
    ends: tuple[tuple[RuleId, int], ...] = ()  # those that end by themselves: CLOCK_BOOTTIME s


@dataclass(frozen=True, slots=True)
class Flow:
    """A conversation that was allowed when it began, as the kernel's table has it."""

    key: bytes  # the map key, to cut it by
    role: RoleId
    rule: RuleId
    inbound: bool
    proto: int
    local: Addr
    local_port: int
    remote: Addr
    remote_port: int
    since: Nanos
    seen: Nanos
    state: abi.FlowState
    reason: Reason
