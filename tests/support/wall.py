"""The kernel part under test: loaded, attached nowhere, run packet by packet.

A `Wall` holds the tables of one test as a policy would fill them and tells of each packet
what the hooks said and which counter moved. It runs in a namespace of its own: a test run
takes its socket's namespace from the caller.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dnsfw.datapath import abi
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.bpf import Map, MapType, RunResult, prog_test_run
from dnsfw.datapath.sink import KernelSink
from dnsfw.datapath.swap import Table
from dnsfw.model import (
    HOST,
    SECOND,
    Addr,
    Entry,
    FixedEntry,
    FixedRule,
    Flow,
    Grant,
    Lockdown,
    Mode,
    Nanos,
    Plan,
    PortRange,
    PortSet,
    Rank,
    Reason,
    RoleId,
    RolePlan,
    RuleId,
    Verdict,
    addr_from,
)
from tests.support.packets import Ether, Part

ALLOW, DENY = Verdict.ALLOW, Verdict.DENY
CG_EGRESS, TC, TC_L3 = "dnsfw_cg_egress", "dnsfw_tc_egress", "dnsfw_tc_egress_l3"
CG_INGRESS, TC_INGRESS = "dnsfw_cg_ingress", "dnsfw_tc_ingress"
GUEST_IN, GUEST_IN_L3 = "dnsfw_guest_in", "dnsfw_guest_in_l3"
GUEST_OUT, GUEST_OUT_L3 = "dnsfw_guest_out", "dnsfw_guest_out_l3"
EDGE_IN, EDGE_OUT, TC_LO = "dnsfw_edge_in", "dnsfw_edge_out", "dnsfw_tc_lo"
EGRESS = (CG_EGRESS, TC, TC_L3)
FROM_GUEST = (GUEST_IN, GUEST_IN_L3)  # every egress hook judges what a guest sends, too
TO_GUEST = (GUEST_OUT, GUEST_OUT_L3)

# What each hook returns for "may leave"; all others drop.
_PASS = {CG_EGRESS: 1, CG_INGRESS: 1}
_NEXT = 0xFFFFFFFF
_CTX_BYTES = 192  # struct __sk_buff
_MARK_AT, _INGRESS_AT, _IFINDEX_AT = 8, 36, 40
_LO = 1
_USED = 64  # elements of an array that any test writes

RULE, OTHER_RULE, THIRD_RULE = RuleId(300), RuleId(301), RuleId(302)
TCP_UDP_ICMP = PortSet.of(PortRange(proto) for proto in (1, 6, 17))
LATER = 60 * SECOND
WEB, MAIL = RoleId(abi.RoleId.FIRST), RoleId(abi.RoleId.FIRST + 1)  # two named roles
_BITS = {
    "dnsfw_cgroups": abi.Uses.CGROUPS, "dnsfw_ids": abi.Uses.IDS,
    "dnsfw_sources": abi.Uses.SOURCES, "dnsfw_devices": abi.Uses.DEVICES,
    "dnsfw_via": abi.Uses.VIA,
}  # fmt: skip


def ports(text: str) -> PortSet:
    """`443/tcp 53/udp 8000-8100/tcp icmp`, as the language writes them."""
    numbers = {"tcp": 6, "udp": 17, "icmp": 1, "sctp": 132, "gre": 47, "udplite": 136}
    ranges = []
    for item in text.split():
        span, _, proto = item.rpartition("/")
        low, _, high = (span or "0-65535").partition("-")
        ranges.append(PortRange(numbers[proto], int(low), int(high or low)))
    return PortSet.of(ranges)


HTTPS = ports("443/tcp 443/udp")


@dataclass(frozen=True, slots=True)
class Said:
    """What became of one packet at one hook."""

    verdict: Verdict
    reason: Reason | None  # None: nothing was counted
    audited: bool
    mark: int


class _Empty:
    """A table that was just emptied: reading 4,096 zeroes back would take most of a test."""

    def __init__(self, table: Map) -> None:
        self.lookup, self.update, self.delete = table.lookup, table.update, table.delete
        self.update_many, self.delete_many = table.update_many, table.delete_many

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(())


class Wall:
    """One test's kernel part; `reset` empties it for the next."""

    def __init__(self, loaded: Loaded, device: int, netns: int) -> None:
        self.loaded = loaded
        self.device = device  # where packets leave unless a test says lo
        self.netns = netns if loaded.netns_cookie else 0
        self.reset()

    def reset(self) -> None:
        for table in self.loaded.maps.values():
            if table.kind in (MapType.HASH, MapType.LRU_HASH, MapType.LPM_TRIE):
                for key in list(table.keys()):
                    table.delete(key)
            elif table.kind in (MapType.ARRAY, MapType.PERCPU_ARRAY):
                used = table.max_entries if table.name == "dnsfw_buckets" else _USED
                for number in range(min(table.max_entries, used)):
                    table.update(number.to_bytes(4, "little"), bytes(table.value_size))
        empty = _Empty(self.table("dnsfw_portsets"))
        maps: dict[str, Table] = {**self.loaded.maps, "dnsfw_portsets": empty}
        self.sink = KernelSink(maps, barrier=lambda: None)
        self.settle()
        self.policy()

    def settle(self, *, netns: int | None = None, only_netns: bool = False, dns: int = 0) -> None:
        here = self.netns if netns is None else netns
        self._settings = abi.Settings(here, only_netns, dns, 0)
        self._use(0)

    def _use(self, bits: int) -> None:
        self._settings = self._settings._replace(uses=self._settings.uses | bits)
        self.table("dnsfw_settings").update(bytes(4), self._settings.pack())

    def assign(self, table: str, key: bytes, value: bytes) -> None:
        """One row of a table of subjects, and the bit that says there is one."""
        self.table(table).update(key, value)
        self._use(_BITS[table])

    def cgroup_is(self, number: int, role: RoleId, rank: Rank = Rank.CGROUP) -> None:
        self.assign("dnsfw_cgroups", number.to_bytes(8, "little"), abi.Subject(role, rank).pack())

    def uid_is(self, number: int, role: RoleId, kind: abi.IdKind = abi.IdKind.ID_USER) -> None:
        self.assign("dnsfw_ids", abi.IdKey(kind, number).pack(), _number(role))

    def source_is(self, prefix: str, role: RoleId, device: int = 0) -> None:
        addr, bits = _wide(prefix)
        self.assign(
            "dnsfw_sources", abi.SourceKey(32 + bits, device, addr).pack(), _number(role)
        )

    def device_is(self, device: int, role: RoleId) -> None:
        """A guest's link; `abi.RoleId.HOST` where only sources are named there."""
        self.assign("dnsfw_devices", abi.DeviceKey(self.netns, device).pack(), _number(role))

    def via_is(self, device: int, role: RoleId, other: RoleId) -> None:
        self.assign("dnsfw_via", abi.ViaKey(self.netns, device, role).pack(), _number(other))

    def keep_locals(self, *addrs: str) -> None:
        """The host's addresses, and that the list of them is kept."""
        for addr in ("::", *addrs):
            key = abi.LocalKey(self.netns, addr_from(addr))
            self.table("dnsfw_locals").update(key.pack(), b"\1")

    def table(self, name: str) -> Map:
        return self.loaded.maps[name]

    def policy(
        self,
        default: Verdict = DENY,
        *,
        fixed: Mapping[str, Sequence[tuple[str, Verdict, RuleId]]] | None = None,
        rules: Iterable[RuleId] = (RULE, OTHER_RULE, THIRD_RULE),
        audit: bool = False,
        lockdown: Lockdown = Lockdown.OFF,
        others: Iterable[RolePlan] = (),
        fixed_of: RoleId = HOST,
        ends: Mapping[RuleId, int] | None = None,
        **role: object,
    ) -> None:
        """The role `host` under this policy, and other roles beside it. `fixed` maps a prefix
        to its ordered rules; `ends` has the last second of temporary ones.
        """
        mode = Mode.AUDIT if audit else Mode.ENFORCE
        plan = RolePlan(HOST, default, mode, **role)  # type: ignore[arg-type]
        ends = ends or {}
        entries = tuple(
            _fixed(prefix, rows, fixed_of, ends) for prefix, rows in (fixed or {}).items()
        )
        alive = frozenset([*rules, RuleId(abi.RuleId.DEFAULT)])
        self._plan = Plan((plan, *others), entries, alive, tuple(ends.items()))
        self.sink.apply(self._plan)
        self.sink.lockdown(lockdown)

    def kill(self, rule: RuleId) -> None:
        """The same policy without this rule."""
        self._plan = replace(self._plan, rules=self._plan.rules - {rule})
        self.sink.apply(self._plan)

    def grant(
        self,
        addr: str,
        *slots: tuple[str, Verdict, RuleId, int],
        role: RoleId = HOST,
    ) -> None:
        """Open (or close) an address: (ports, verdict, rule, nanoseconds from now)."""
        now = boottime()
        grants = tuple(
            Grant(Nanos(now + left), rule, ports(text), verdict)
            for text, verdict, rule, left in slots
        )
        self.sink.write([Entry(role, addr_from(addr), grants)])

    def open(self, *addrs: str, text: str = "443/tcp 443/udp", role: RoleId = HOST) -> None:
        for addr in addrs:
            self.grant(addr, (text, ALLOW, RULE, LATER), role=role)

    def listen(self, addr: str, port: int = 53) -> None:
        key = abi.ListenerKey(self.netns, addr_from(addr), port)
        self.table("dnsfw_listeners").update(key.pack(), b"\1")
        self._settings = self._settings._replace(dns_port=port)
        self._use(0)

    def flows(self, *, inbound: bool = False) -> list[Flow]:
        return [flow for flow in self.sink.flows() if flow.inbound == inbound]

    def age(self, seconds: float, *, inbound: bool = False) -> None:
        """Every flow was last seen this long ago."""
        table = self.table("dnsfw_flows_in" if inbound else "dnsfw_flows")
        for key, value in list(table.items()):
            flow = abi.Flow.unpack(value)
            seen = flow.seen - int(seconds * SECOND)
            table.update(key, flow._replace(seen=seen).pack())

    def judge(
        self,
        hook: str,
        packet: Part | bytes,
        *,
        device: int | None = None,
        came_in: int = 0,
        mark: int = 0,
    ) -> Said:
        """Run one packet through one hook. `came_in`: the device it is forwarded from."""
        before = self._counters()
        ran = self.run(hook, packet, device=device, came_in=came_in, mark=mark)
        verdict = ALLOW if ran.retval == _PASS.get(hook, _NEXT) else DENY
        (mark,) = struct.unpack_from("=I", ran.ctx, _MARK_AT)
        moved = [
            (reason, now.audited > was.audited)
            for (reason, now), was in zip(
                self._counters().items(), before.values(), strict=True
            )
            if now[:3] != was[:3]
        ]
        assert len(moved) <= 1, f"one packet, one counter, not {moved}"
        reason, audited = moved[0] if moved else (None, False)
        return Said(verdict, reason, audited, mark)

    def run(
        self,
        hook: str,
        packet: Part | bytes,
        *,
        device: int | None = None,
        came_in: int = 0,
        mark: int = 0,
        repeat: int = 1,
    ) -> RunResult:
        ctx = bytearray(_CTX_BYTES)
        struct.pack_into("=I", ctx, _MARK_AT, mark)
        struct.pack_into("=I", ctx, _INGRESS_AT, came_in)
        struct.pack_into("=I", ctx, _IFINDEX_AT, self.device if device is None else device)
        fd = self.loaded.programs[hook].fd
        return prog_test_run(fd, as_frame(hook, packet), ctx=bytes(ctx), repeat=repeat)

    def _counters(self) -> dict[Reason, abi.Counter]:
        return self.sink.counters()


def as_frame(hook: str, packet: Part | bytes) -> bytes:
    """What a test run wants: it strips 14 bytes for cgroup hooks, and none for TC."""
    if isinstance(packet, bytes):
        return packet
    return packet.wire if hook.endswith("_l3") else Ether(packet)


def hooks_for(packet: Part | bytes) -> tuple[str, ...]:
    """Every hook that judges it as egress: a frame with its link header is TC's alone."""
    return (TC, GUEST_IN) if isinstance(packet, bytes) else EGRESS + FROM_GUEST


def boottime() -> Nanos:
    return Nanos(time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def _fixed(
    prefix: str,
    rows: Sequence[tuple[str, Verdict, RuleId]],
    role: RoleId,
    ends: Container[RuleId] = (),
) -> FixedEntry:
    rules = tuple(
        FixedRule(rule, ports(text), verdict, rule in ends) for text, verdict, rule in rows
    )
    return FixedEntry(role, *_wide(prefix), rules)


def _wide(prefix: str) -> tuple[Addr, int]:
    """A prefix in the form of 128 bits."""
    addr, _, bits = prefix.partition("/")
    return addr_from(addr), int(bits) + (0 if ":" in addr else 96)


def _number(role: RoleId) -> bytes:
    return int(role).to_bytes(4, "little")
