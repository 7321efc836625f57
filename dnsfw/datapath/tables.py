"""How the model's values look in the kernel's maps: bytes in, bytes out, no syscalls.

Port sets are interned: a grant names its ports by a 16-bit id, so a range of
60,000 ports costs one array element however many addresses use it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from struct import Struct

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Limit
from dnsfw.datapath.bpf import BpfError
from dnsfw.errors import DatapathError
from dnsfw.model import (
    PROBE,
    Addr,
    Entry,
    FixedEntry,
    FixedRule,
    Flow,
    Grant,
    Lockdown,
    Nanos,
    Plan,
    PortRange,
    PortSet,
    Reason,
    RoleId,
    RolePlan,
    RuleId,
    Verdict,
    addr_from,
)

PROBE_RULE = RuleId(abi.RuleId.PROBE)
# The self-test's role: nothing is allowed but one port of two addresses on loopback, where
# only an address rule opens anything (a grant of a name could never).
PROBE_PLAN = RolePlan(
    role=PROBE, default=Verdict.DENY, inbound=abi.Inbound.DENY, loopback=abi.Loopback.PORTS
)
PROBE_PORT = 9  # discard
PROBE_ALLOWED, PROBE_ALLOWED6 = "127.0.53.253", "::1"
_PROBE_OPEN = (
    FixedRule(PROBE_RULE, PortSet((PortRange(17, PROBE_PORT, PROBE_PORT),)), Verdict.ALLOW),
)
_PROBE_FIXED = tuple(
    FixedEntry(PROBE, addr_from(text), 128, _PROBE_OPEN) for text in (PROBE_ALLOWED, PROBE_ALLOWED6)
)

_FULL = frozenset({errno.E2BIG, errno.ENOMEM, errno.ENOSPC})
_ADDRESS_BITS = 128
_KEY_BITS = 64  # table and role precede the address in the LPM key
_MAPPED_BITS = 96
_MAPPED_BASE = Addr(bytes(10) + b"\xff\xff" + bytes(4))

# One layout a slot count: the unused slots are zeroes, and zeroes are empty.
_SLOT = abi.Slot.LAYOUT
_SLOT_BYTES = abi.Slot.SIZE
_VERDICTS = {int(verdict): verdict for verdict in Verdict}
_GRANT_LAYOUTS = tuple(
    Struct("<" + "QIHBx" * n + f"{_SLOT_BYTES * (Limit.SLOTS - n)}x")
    for n in range(Limit.SLOTS + 1)
)
_pack_grant_key = abi.GrantKey.LAYOUT.pack


_SAME_KEPT = 1024  # the sets of a policy, and those of one before it
_EMPTY = bytes(4)  # a count of no ranges


class PortSets:
    """Port sets by number. A number is written to the kernel before anything names it and
    keeps its meaning until `collect` finds that nothing does.
    """

    def __init__(
        self,
        write: Callable[[int, bytes], None],
        capacity: int = Limit.MAX_PORTSETS,
    ) -> None:
        self._write = write
        self._capacity = capacity
        self._ids: dict[PortSet, int] = {PortSet(): 0}  # id 0 covers nothing
        self._sets: dict[int, PortSet] = {0: PortSet()}
        self._free: list[int] = list(range(capacity - 1, 0, -1))
        # By the id of a set, which is kept alive: to hash one takes longer than all the rest.
        self._same: dict[int, tuple[PortSet, int]] = {}

    def adopt(self, number: int, value: bytes) -> None:
        """Takes over what an earlier process wrote under this number."""
        if not number or value.startswith(_EMPTY):  # nearly all of them
            return
        if (ports := decode_portset(value)) and ports not in self._ids:
            self._ids[ports] = number
            self._sets[number] = ports
            self._free.remove(number)

    def id_of(self, ports: PortSet) -> int:
        """The number of this set, written to the kernel if it is new.

        DatapathError when the set has too many ranges or no number is free.
        """
        if (same := self._same.get(id(ports))) is not None:
            return same[1]
        if (number := self._ids.get(ports)) is not None:
            if len(self._same) >= _SAME_KEPT:
                self._same.clear()
            self._same[id(ports)] = (ports, number)
            return number
        value = encode_portset(ports)
        if not self._free:
            raise PortSetsFull(self._capacity)
        number = self._free[-1]
        self._write(number, value)
        self._free.pop()
        self._ids[ports] = number
        self._sets[number] = ports
        return number

    def ports(self, number: int) -> PortSet:
        """What a number means; a number nobody gave covers nothing, as in the kernel."""
        return self._sets.get(number, self._sets[0])

    def collect(self, used: Iterable[int]) -> int:
        """Frees every number that is not in `used`; says how many."""
        self._same.clear()
        dead = self._sets.keys() - {0, *used}
        for number in dead:
            del self._ids[self._sets.pop(number)]
        self._free.extend(dead)
        return len(dead)


class PortSetsFull(DatapathError):
    """No number is free: the caller may collect and try again."""

    def __init__(self, capacity: int) -> None:
        super().__init__(
            f"the policy uses more than {capacity - 1} different sets of ports; "
            "give rules the same ports where they can share them"
        )


def encode_portset(ports: PortSet) -> bytes:
    """DatapathError when the kernel's form has no room for so many ranges."""
    if len(ports.ranges) > Limit.PORT_RANGES:
        raise DatapathError(
            f"one rule lists {len(ports.ranges)} port ranges, the kernel takes "
            f"{int(Limit.PORT_RANGES)}; split the rule"
        )
    packed = b"".join(abi.PortRange(r.proto, r.low, r.high).pack() for r in ports.ranges)
    count = len(ports.ranges).to_bytes(4, "little")
    return (count + packed).ljust(abi.Portset.SIZE, b"\0")


def decode_portset(value: bytes) -> PortSet:
    count = min(int.from_bytes(value[:4], "little"), Limit.PORT_RANGES)
    size = abi.PortRange.SIZE
    pieces = (abi.PortRange.unpack(value[4 + i * size : 4 + (i + 1) * size]) for i in range(count))
    return PortSet(tuple(PortRange(p.proto, p.low, p.high) for p in pieces))


def encode_entry(entry: Entry, id_of: Callable[[PortSet], int]) -> tuple[bytes, bytes]:
    """Key and value of the grants table; the hot path of an answer."""
    grants = entry[2]
    if len(grants) > Limit.SLOTS:
        raise DatapathError(f"{len(grants)} grants on one address; the kernel has {Limit.SLOTS:d}")
    if len(grants) == 1:  # nearly always
        until, rule, ports, verdict = grants[0]
        return (
            _pack_grant_key(entry[0], entry[1]),
            _GRANT_LAYOUTS[1].pack(until, rule, id_of(ports), verdict),
        )
    fields: list[int] = []
    for grant in grants:
        fields += (grant.until, grant.rule, id_of(grant.ports), grant.verdict)
    return (
        _pack_grant_key(entry.role, entry.addr),
        _GRANT_LAYOUTS[len(grants)].pack(*fields),
    )


def encode_entries(
    entries: Iterable[Entry], id_of: Callable[[PortSet], int]
) -> list[tuple[bytes, bytes]]:
    """The same of many. Most of them have the ports of the one before."""
    made, known, number, pack = [], None, 0, _GRANT_LAYOUTS[1].pack
    for entry in entries:
        role, addr, grants = entry
        if len(grants) != 1:
            made.append(encode_entry(entry, id_of))
            continue
        until, rule, ports, verdict = grants[0]
        if ports is not known:
            known, number = ports, id_of(ports)
        made.append((_pack_grant_key(role, addr), pack(until, rule, number, verdict)))
    return made


def decode_entry(key: bytes, value: bytes, ports: Callable[[int], PortSet]) -> Entry:
    role, addr = abi.GrantKey.LAYOUT.unpack(key)
    grants = tuple([
        Grant(until, rule, ports(portset), _VERDICTS[verdict])
        for until, rule, portset, verdict in _SLOT.iter_unpack(value)
        if until
    ])  # fmt: skip
    return Entry(role, addr, grants)


def encode_grant_key(entry: Entry) -> bytes:
    return _pack_grant_key(entry.role, entry.addr)


def grant_portsets(value: bytes) -> set[int]:
    """The port set numbers that a value of the grants table names."""
    return set(abi.Grant.unpack(value).slots[2::5])


def encode_fixed(
    entry: FixedEntry, table: int, id_of: Callable[[PortSet], int]
) -> tuple[bytes, bytes]:
    if len(entry.rules) > Limit.FIXED_ENTRIES:
        raise DatapathError(
            f"{len(entry.rules)} address rules cover one prefix, the kernel takes "
            f"{int(Limit.FIXED_ENTRIES)}; join some of them"
        )
    key = abi.FixedKey(_KEY_BITS + entry.bits, table, entry.role, entry.addr).pack()
    rules = b"".join(
        abi.FixedRule(r.rule, id_of(r.ports), r.verdict, r.ends).pack() for r in entry.rules
    )
    head = len(entry.rules).to_bytes(8, "little")  # the count and its padding
    return key, (head + rules).ljust(abi.Fixed.SIZE, b"\0")


def fixed_portsets(value: bytes) -> set[int]:
    """The port set numbers that a value of the address rules names."""
    return set(abi.Fixed.unpack(value).rules[1::4])


def shield_mapped(fixed: Iterable[FixedEntry]) -> tuple[FixedEntry, ...]:
    """Keeps IPv6 prefixes off IPv4 addresses.

    IPv4 lives at ::ffff:0:0/96, so `::/0` would win there as the longest match. An empty
    list for the mapped range says "no address rule" unless the policy has one for 0.0.0.0/0.
    """
    entries = tuple(fixed)
    wide = [e for e in entries if e.bits <= _MAPPED_BITS]  # seldom any of tens of thousands
    present = {e.role for e in wide if e.bits == _MAPPED_BITS and e.addr == _MAPPED_BASE}
    exposed = {e.role for e in wide if _covers_mapped(e)}
    return entries + tuple(
        FixedEntry(role, _MAPPED_BASE, _MAPPED_BITS, ()) for role in sorted(exposed - present)
    )


def _covers_mapped(entry: FixedEntry) -> bool:
    if entry.bits >= _MAPPED_BITS:
        return False
    return same_prefix(entry.addr, _MAPPED_BASE, entry.bits)


def same_prefix(one: bytes, other: bytes, bits: int) -> bool:
    """True if two addresses agree in their first `bits` bits."""
    shift = _ADDRESS_BITS - bits
    return int.from_bytes(one, "big") >> shift == int.from_bytes(other, "big") >> shift


def encode_role(
    role: RolePlan, table: int, epoch: int, lockdown: Lockdown, id_of: Callable[[PortSet], int]
) -> abi.Role:
    return abi.Role(
        table=table,
        epoch=epoch,
        default_verdict=role.default,
        mode=role.mode,
        lockdown=Lockdown.OFF if role.role == PROBE else lockdown,
        inbound=role.inbound,
        inbound_ports=id_of(role.inbound_ports),
        loopback_ports=id_of(role.loopback_ports),
        loopback=role.loopback,
        flags=(abi.RoleFlag.RESOLVED_ONLY if role.resolved_only else 0)
        | (abi.RoleFlag.TAKEOVER if role.takeover else 0),
        configured=1,
        audit_until=role.audit_until,
    )


def with_probe(plan: Plan) -> Plan:
    """The plan with the self-test's role and rule: the wall can always be tested."""
    roles = tuple(r for r in plan.roles if r.role != PROBE)
    fixed = (entry for entry in plan.fixed if entry.role != PROBE)
    return Plan((*roles, PROBE_PLAN), (*fixed, *_PROBE_FIXED), plan.rules | {PROBE_RULE}, plan.ends)


def decode_flow(key: bytes, value: bytes, *, inbound: bool) -> Flow:
    k = abi.FlowKey.unpack(key)
    v = abi.Flow.unpack(value)
    return Flow(
        key=key,
        role=RoleId(v.role),
        rule=RuleId(v.rule),
        inbound=inbound,
        proto=k.proto,
        local=Addr(k.local),
        local_port=k.local_port,
        remote=Addr(k.remote),
        remote_port=k.remote_port,
        since=Nanos(v.since),
        seen=Nanos(v.seen),
        state=abi.FlowState(v.state),
        reason=Reason(v.reason),
    )


def sum_counters(per_cpu: bytes) -> abi.Counter:
    """One counter out of every CPU's share; they come in a row."""
    total = [0, 0, 0, 0]
    for share in abi.Counter.LAYOUT.iter_unpack(per_cpu):
        total = [a + b for a, b in zip(total, share, strict=True)]
    return abi.Counter(*total)


def number_key(number: int) -> bytes:
    """The key of an array, or of a hash by a 32-bit number."""
    return number.to_bytes(4, "little")


def is_full(error: DatapathError) -> bool:
    """True if a map said that it has no room."""
    return isinstance(error, BpfError) and error.errno in _FULL
