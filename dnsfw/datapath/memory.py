"""The wall's tables without a kernel: a shipped fake for tests of everything above.

It is `KernelSink` over dictionaries, so what is encoded, in which order, and what
happens when a table is full is the same code that runs in production.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Limit
from dnsfw.datapath.bpf import BpfError
from dnsfw.datapath.sink import KernelSink
from dnsfw.datapath.swap import Slices, Swapped, nothing
from dnsfw.datapath.tables import decode_portset, number_key, same_prefix
from dnsfw.model import (
    SECOND,
    Addr,
    Entry,
    Flow,
    Lockdown,
    Nanos,
    Plan,
    Reason,
    RoleId,
    Verdict,
)

_LOCAL_BITS = 64  # of an LPM key before the address
_STANDS = abi.Rule(1).pack()
_LOOPBACK_V4 = bytes(10) + b"\xff\xff\x7f"
_LOOPBACK_V6 = bytes(15) + b"\x01"


class MemoryMap:
    """A hash (or, with `array_of`, an array) as the kernel has them: bytes in, bytes out."""

    def __init__(self, capacity: int, array_of: int | None = None) -> None:
        self.capacity = capacity
        self.data: dict[bytes, bytes] = {}
        self.writes = 0  # updates and deletes that were asked for
        self._array = array_of is not None
        if array_of is not None:
            self.data = {number_key(i): bytes(array_of) for i in range(capacity)}

    def lookup(self, key: bytes, /) -> bytes | None:
        return self.data.get(key)

    def update(self, key: bytes, value: bytes, /) -> None:
        self.writes += 1
        if key not in self.data and len(self.data) >= self.capacity:
            raise BpfError("write to memory", errno.E2BIG)
        self.data[key] = value

    def update_many(self, elements: Sequence[tuple[bytes, bytes]], /) -> None:
        """In order; what was written before one that cannot be stays."""
        for key, value in elements:
            self.update(key, value)

    def delete(self, key: bytes, /) -> bool:
        self.writes += 1
        return not self._array and self.data.pop(key, None) is not None

    def delete_many(self, keys: Sequence[bytes], /) -> None:
        for key in keys:
            self.delete(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        yield from list(self.data.items())


def memory_maps(grants: int = Limit.MAX_GRANTS) -> dict[str, MemoryMap]:
    """Empty maps by the names that the kernel's have."""
    return {
        "dnsfw_grants": MemoryMap(grants),
        "dnsfw_portsets": MemoryMap(Limit.MAX_PORTSETS, abi.Portset.SIZE),
        "dnsfw_rules": MemoryMap(Limit.MAX_RULES),
        "dnsfw_fixed": MemoryMap(Limit.MAX_FIXED),
        "dnsfw_generation": MemoryMap(1, 4),
        "dnsfw_roles": MemoryMap(Limit.MAX_ROLES, abi.Role.SIZE),
        "dnsfw_flows": MemoryMap(Limit.MAX_FLOWS),
        "dnsfw_flows_in": MemoryMap(Limit.MAX_FLOWS_IN),
        "dnsfw_listeners": MemoryMap(Limit.MAX_LISTENERS),
        "dnsfw_settings": MemoryMap(1, abi.Settings.SIZE),
        "dnsfw_counters": MemoryMap(Reason.REASON_COUNT, abi.Counter.SIZE),
        "dnsfw_role_counters": MemoryMap(Limit.MAX_ROLES, abi.Counter.SIZE),
        "dnsfw_cgroups": MemoryMap(Limit.MAX_CGROUPS),
        "dnsfw_ids": MemoryMap(Limit.MAX_IDS),
        "dnsfw_sources": MemoryMap(Limit.MAX_SOURCES),
        "dnsfw_devices": MemoryMap(Limit.MAX_DEVICES),
        "dnsfw_via": MemoryMap(Limit.MAX_DEVICES),
        "dnsfw_doors": MemoryMap(Limit.MAX_NETNS),
    }


class MemorySink:
    """A `Sink` for tests, which can also judge as the kernel would."""

    def __init__(
        self, capacity: int = Limit.MAX_GRANTS, maps: dict[str, MemoryMap] | None = None
    ) -> None:
        """Over `maps`, it adopts what is there, as a restarted daemon does."""
        self.maps = memory_maps(capacity) if maps is None else maps
        self.listening: dict[tuple[int, int], RoleId] = {}  # on loopback, by protocol and port
        self._sink = KernelSink(self.maps, barrier=lambda: None, capacity=capacity)

    def apply(self, plan: Plan, between: Callable[[], None] = nothing) -> None:
        self._sink.apply(plan, between)

    def begin(self, plan: Plan, between: Callable[[], None] = nothing) -> Swapped:
        return self._sink.begin(plan, between)

    def aside(self, plan: Plan) -> Slices:
        return self._sink.aside(plan)

    def write(self, entries: Sequence[Entry]) -> None:
        self._sink.write(entries)

    def entries(self) -> Iterator[Entry]:
        return self._sink.entries()

    def flows(self) -> Iterator[Flow]:
        return self._sink.flows()

    def cut(self, flows: Iterable[Flow]) -> None:
        self._sink.cut(flows)

    def counters(self) -> dict[Reason, abi.Counter]:
        return self._sink.counters()

    def role_counters(self) -> dict[RoleId, abi.Counter]:
        return self._sink.role_counters()

    def lockdown(self, state: Lockdown) -> None:
        self._sink.lockdown(state)

    @property
    def locked(self) -> Lockdown:
        return self._sink.locked

    def entry(self, role: RoleId, addr: Addr) -> Entry | None:
        """What the kernel holds of this address, or None."""
        return next((e for e in self.entries() if (e.role, e.addr) == (role, addr)), None)

    def begin_flow(self, flow: Flow) -> None:
        """Remembers a conversation, as the kernel does when it lets one begin."""
        table = self.maps["dnsfw_flows_in" if flow.inbound else "dnsfw_flows"]
        value = abi.Flow(flow.since, flow.seen, flow.role, flow.rule, 0, flow.state, flow.reason)
        table.update(flow.key, value.pack())

    def judge(
        self, role: RoleId, addr: Addr, proto: int, port: int, now: Nanos
    ) -> tuple[Verdict, Reason]:
        """How a new conversation would fare: the order of decide.h, from the same bytes."""
        state = abi.Role.unpack(self.maps["dnsfw_roles"].data[number_key(role)])
        loopback = addr.startswith(_LOOPBACK_V4) or addr == _LOOPBACK_V6
        if not state.configured:
            return Verdict.DENY, Reason.DEFAULT
        if state.lockdown and not loopback:
            return Verdict.DENY, Reason.LOCKDOWN
        if (fixed := self._fixed(role, state.table, addr, proto, port, now)) is not None:
            builtin = fixed.rule == abi.RuleId.BUILTIN
            return Verdict(fixed.verdict), Reason.BUILTIN if builtin else Reason.ADDRESS_RULE
        if loopback:
            if self._may_reach(role, state, proto, port):
                return Verdict.ALLOW, Reason.LOOPBACK
            return Verdict.DENY, Reason.LOOPBACK_OTHER
        return self._granted(role, state, addr, proto, port, now)

    def _may_reach(self, role: RoleId, state: abi.Role, proto: int, port: int) -> bool:
        match state.loopback:
            case abi.Loopback.ALL:
                return True
            case abi.Loopback.OWN:
                return self.listening.get((proto, port)) == role
        return self._covers(state.loopback_ports, proto, port)

    def _granted(
        self, role: RoleId, state: abi.Role, addr: Addr, proto: int, port: int, now: Nanos
    ) -> tuple[Verdict, Reason]:
        entry = self.entry(role, addr)
        alive = [g for g in entry.grants if self._alive(g.rule, now)] if entry else []
        live = [g for g in alive if now < g.until]
        for verdict, reason in (
            (Verdict.DENY, Reason.CLOSED),
            (Verdict.ALLOW, Reason.GRANTED),
        ):
            if any(g.verdict == verdict and g.ports.covers(proto, port) for g in live):
                return verdict, reason
        if not state.flags & abi.RoleFlag.RESOLVED_ONLY and state.default_verdict:
            return Verdict.ALLOW, Reason.DEFAULT
        if live:
            return Verdict.DENY, Reason.WRONG_PORT
        return Verdict.DENY, Reason.EXPIRED if alive else Reason.NEVER_RESOLVED

    def _fixed(
        self, role: RoleId, table: int, addr: Addr, proto: int, port: int, now: Nanos
    ) -> abi.FixedRule | None:
        best, best_bits = b"", -1
        for key, value in self.maps["dnsfw_fixed"].data.items():
            k = abi.FixedKey.unpack(key)
            bits = k.prefixlen - _LOCAL_BITS
            ours = (k.role, k.table) == (role, table) and same_prefix(k.addr, addr, bits)
            if ours and bits > best_bits:
                best, best_bits = value, bits
        count = int.from_bytes(best[:4], "little")
        size = abi.FixedRule.SIZE
        rules = (abi.FixedRule.unpack(best[8 + i * size :][:size]) for i in range(count))
        alive = (r for r in rules if not r.ends or self._alive(r.rule, now))
        return next((r for r in alive if self._covers(r.portset, proto, port)), None)

    def _alive(self, rule: int, now: Nanos) -> bool:
        value = self.maps["dnsfw_rules"].data.get(number_key(rule), bytes(4))
        return value == _STANDS or now < abi.Rule.unpack(value).alive * SECOND

    def _covers(self, portset: int, proto: int, port: int) -> bool:
        value = self.maps["dnsfw_portsets"].data[number_key(portset)]
        return decode_portset(value).covers(proto, port)
