"""The policy in the kernel: roles, live rules and address rules, swapped as a whole.

A swap builds the new address rules beside the old ones under the role's other table
number, and flips each role with one write. No packet ever sees half a policy. What takes long
(tens of thousands of rules that are written before, or deleted after) goes in slices, between
which whoever swaps may do something else.
"""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from dnsfw.datapath import abi
from dnsfw.datapath.abi import Limit
from dnsfw.datapath.tables import (
    encode_fixed,
    encode_role,
    fixed_portsets,
    is_full,
    number_key,
    shield_mapped,
    with_probe,
)
from dnsfw.errors import DatapathError
from dnsfw.model import (
    PROBE,
    FixedEntry,
    Lockdown,
    Plan,
    PortSet,
    RoleId,
    RolePlan,
    RuleId,
)
from dnsfw.values import dataclass

T = TypeVar("T")
Slices = Iterator[None]  # work that goes on with each step

_ONLY = bytes(4)  # the key of an array of one
_ALIVE = 1  # as long as it stands in the table
_NOBODY = abi.Role.unpack(bytes(abi.Role.SIZE))  # denies everything
_EPOCH_MASK = 0xFFFFFFFF
_MEMBARRIER_CALL = {"x86_64": 324, "i686": 375, "armv7l": 389, "ppc64le": 365, "s390x": 356}
_MEMBARRIER_CALL_ELSEWHERE = 283  # asm-generic
_MEMBARRIER_GLOBAL = 1
_READ_AT_ONCE = 4096  # rules: a millisecond
_SLICE = 256  # rules that are written or deleted before somebody else has a turn: a millisecond
_LONGEST_PACKET = 0.05  # seconds; where the kernel cannot tell that readers are gone


class Table(Protocol):
    """One map as the sink needs it: `bpf.Map`, or `memory.MemoryMap` in tests."""

    def lookup(self, key: bytes, /) -> bytes | None: ...
    def update(self, key: bytes, value: bytes, /) -> None: ...
    def update_many(self, elements: Sequence[tuple[bytes, bytes]], /) -> None: ...
    def delete(self, key: bytes, /) -> bool: ...
    def delete_many(self, keys: Sequence[bytes], /) -> None: ...
    def items(self) -> Iterator[tuple[bytes, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Swapped:
    """A policy that judges, while rules that it no longer has still count for the grants that
    they opened, and programs that began before may still read its tables.

    `bury` the rules when these grants are judged anew; `wait` until the programs are gone, in
    any thread; then `finish`, where the tables are written. What is begun again goes on.
    """

    bury: Callable[[], Slices]
    wait: Callable[[], None]
    finish: Callable[[], Slices]

    def settle(self) -> None:
        """All three, here and now."""
        whole(self.bury())
        self.wait()
        whole(self.finish())


def whole(slices: Slices) -> None:
    """All that is left of it, here and now."""
    for _ in slices:
        pass


def nothing() -> None:
    """What happens between the old policy and the new one, if nobody says otherwise."""


def rcu_barrier() -> None:
    """Returns when no program that began before the call still runs.

    membarrier(2) waits for a grace period, and BPF programs are its readers. Where a kernel
    with nohz_full refuses it, a pause longer than any packet takes must do.
    """
    call = _MEMBARRIER_CALL.get(platform.machine(), _MEMBARRIER_CALL_ELSEWHERE)
    if ctypes.CDLL(None).syscall(call, _MEMBARRIER_GLOBAL, 0, 0) != 0:
        time.sleep(_LONGEST_PACKET)


class Generation:
    """The only writer of `dnsfw_generation`. What hooks have judged counts for a while without
    a look at the tables, but never past its generation.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def renew(self) -> None:
        """Called past each change of a table that shuts what may be open. From now on no packet
        passes by what was judged before.
        """
        before = _number(self._table.lookup(_ONLY) or bytes(4))
        self._table.update(_ONLY, number_key(before % _EPOCH_MASK + 1))  # never 0: not yet


class PolicyTables:
    """The only writer of `dnsfw_roles`, `dnsfw_rules` and `dnsfw_fixed`."""

    def __init__(
        self,
        maps: Mapping[str, Table],
        portset: Callable[[PortSet], int],
        barrier: Callable[[], None],
    ) -> None:
        """Reads back what an earlier process left; removes a swap that it did not finish."""
        self._role_map = maps["dnsfw_roles"]
        self._rule_map = maps["dnsfw_rules"]
        self._fixed_map = maps["dnsfw_fixed"]
        self._portset = portset
        self._barrier = barrier
        self._generation = Generation(maps["dnsfw_generation"])
        self._generation.renew()
        roles = ((_number(k), abi.Role.unpack(v)) for k, v in self._role_map.items())
        self._roles = {RoleId(number): role for number, role in roles if role.configured}
        self._rules = {RuleId(_number(k)): _number(v) for k, v in self._rule_map.items()}
        self._in_force = self._rules  # what is in `_rules` beyond it is begun, or not yet buried
        self._fixed: dict[tuple[int, int], list[bytes]] = {}  # keys by table and role
        for key, _ in self._fixed_map.items():
            parts = abi.FixedKey.unpack(key)
            self._fixed.setdefault((parts.table, parts.role), []).append(key)
        self._aside: _Aside | None = None
        self._begun: Swapped | None = None  # whose old tables are still there
        whole(self._drop_dead_tables())

    @property
    def locked(self) -> Lockdown:
        return Lockdown(max((r.lockdown for r in self._roles.values()), default=Lockdown.OFF))

    def lockdown(self, state: Lockdown) -> None:
        for number, role in list(self._roles.items()):
            if number != PROBE:  # the wall can be tested under lockdown too
                self._set_role(number, role._replace(lockdown=state))
        self._generation.renew()

    def apply(self, plan: Plan, between: Callable[[], None] = nothing) -> None:
        """`begin` and the rest of it: when this returns, the old policy judges no packet."""
        self.begin(plan, between).settle()

    def begin(self, plan: Plan, between: Callable[[], None] = nothing) -> Swapped:
        """The new policy judges when this returns; a program that began before may not know.
        DatapathError leaves the old policy in force, and nothing of the new one.

        `between` runs when the new policy judges and the old rules still count: whoever
        moves grants from an old rule to a new one does it there, and no address that both
        policies allow is shut for a moment.
        """
        if self._aside is None or self._aside.plan is not plan:
            whole(self.aside(plan))
        ready = self._aside
        assert ready is not None
        roles = self._roles_of(ready)
        self._aside = None
        for rule, value in ready.changed.items():
            self._rule_map.update(number_key(rule), abi.Rule(value).pack())
        self._rules.update(ready.changed)
        for number, role in roles.items():
            self._set_role(number, role)  # the flip
        for number in self._roles.keys() - roles.keys():
            # Its sockets are refused until they are relabelled or gone. The epoch goes on:
            # a role of this number that comes back must not meet answers of this one.
            self._set_role(number, _NOBODY._replace(epoch=self._next_epoch(number)))
            del self._roles[number]
        between()
        self._generation.renew()
        swapped = self._begun = Swapped(
            lambda: self._bury(swapped, ready.alive), self._barrier, lambda: self._finish(swapped)
        )
        return swapped

    def aside(self, plan: Plan) -> Slices:
        """Write what nobody looks at yet, so that `begin` of this very plan has little left to
        do. DatapathError leaves nothing of it, and so does whatever is begun instead.
        """
        if self._begun is not None:  # its tables are where these will be built
            self._begun.settle()
        self._forget_aside()
        wanted = with_probe(plan)
        tables = {r.role: self._other_table(r.role) for r in wanted.roles}
        yield
        alive = _alive(wanted)
        self._rules = {**self._in_force}
        yield
        try:
            yield from self._write_fixed(shield_mapped(wanted.fixed), tables)
            yield from self._write_rules({r: v for r, v in alive.items() if r not in self._rules})
        except DatapathError as error:
            self._forget_aside()
            if is_full(error):
                raise DatapathError(
                    f"{len(wanted.fixed)} address rules and {len(wanted.rules)} rules do not fit "
                    f"beside the old ones (the kernel takes {int(Limit.MAX_FIXED)} and "
                    f"{int(Limit.MAX_RULES)} together)"
                ) from error
            raise
        yield
        changed = {r: v for r, v in alive.items() if self._rules[r] != v}
        self._aside = _Aside(plan, wanted.roles, tables, alive, changed)

    def _write_fixed(self, entries: Iterable[FixedEntry], tables: Mapping[RoleId, int]) -> Slices:
        for part in _parts(entries):
            elements = []
            for entry in part:
                table = tables[entry.role]
                elements.append(encode_fixed(entry, table, self._portset))
                self._fixed.setdefault((table, entry.role), []).append(elements[-1][0])
            self._fixed_map.update_many(elements)
            yield

    def _write_rules(self, rules: Mapping[RuleId, int]) -> Slices:
        for part in _parts(rules.items()):
            self._rules.update(part)
            self._rule_map.update_many([(number_key(r), abi.Rule(v).pack()) for r, v in part])
            yield

    def _forget_aside(self) -> None:
        """Of what was written for a swap that never began nothing is left."""
        self._aside = None
        whole(self._drop_dead_tables())
        if gone := self._rules.keys() - self._in_force.keys():
            self._rule_map.delete_many(list(map(number_key, gone)))
        self._rules = self._in_force

    def _roles_of(self, ready: _Aside) -> dict[RoleId, abi.Role]:
        """The roles that will look at it."""
        try:
            return {
                r.role: encode_role(
                    r, ready.tables[r.role], self._next_epoch(r.role), self.locked, self._portset
                )
                for r in ready.roles
            }
        except DatapathError:
            self._forget_aside()
            raise

    def _bury(self, swapped: Swapped, alive: dict[RuleId, int]) -> Slices:
        """What nobody moved to a rule of now is shut."""
        if swapped is not self._begun or self._rules is alive:
            return
        for part in _parts(self._rules.keys() - alive.keys()):
            self._rule_map.delete_many(list(map(number_key, part)))
            for rule in part:
                del self._rules[rule]
            yield
            if swapped is not self._begun or self._rules is alive:
                return  # somebody did the rest meanwhile
        self._rules = self._in_force = alive
        self._generation.renew()

    def _finish(self, swapped: Swapped) -> Slices:
        """A program that read the old table's number looked there until now."""
        if swapped is self._begun:
            for _ in self._drop_dead_tables():
                yield
                if swapped is not self._begun:
                    return
            self._begun = None

    def verify(self) -> tuple[str, ...]:
        """Writes again what somebody else changed of the roles and rules.

        What takes longer to read than a beat has is not: the address rules, long lists.
        """
        touched = []
        for number, role in self._roles.items():
            if self._role_map.lookup(number_key(number)) != role.pack():
                touched.append("dnsfw_roles")
                self._role_map.update(number_key(number), role.pack())
        there = self._rules
        if len(there) <= _READ_AT_ONCE:
            there = {RuleId(_number(k)): _number(v) for k, v in self._rule_map.items()}
        if there != self._rules:
            touched.append("dnsfw_rules")
            for rule, value in self._rules.items() - there.items():
                self._rule_map.update(number_key(rule), abi.Rule(value).pack())
            for rule in there.keys() - self._rules.keys():
                self._rule_map.delete(number_key(rule))
        if touched:
            self._generation.renew()
        return tuple(dict.fromkeys(touched))

    def portsets_used(self) -> set[int]:
        """The port sets that these tables name."""
        used = {p for r in self._roles.values() for p in (r.inbound_ports, r.loopback_ports)}
        for _, value in self._fixed_map.items():
            used |= fixed_portsets(value)
        return used

    def _other_table(self, role: RoleId) -> int:
        return 1 - self._roles[role].table if role in self._roles else 0

    def _next_epoch(self, role: RoleId) -> int:
        before = self._role_map.lookup(number_key(role)) or bytes(abi.Role.SIZE)
        return (abi.Role.unpack(before).epoch + 1) & _EPOCH_MASK

    def _set_role(self, number: RoleId, role: abi.Role) -> None:
        self._role_map.update(number_key(number), role.pack())
        self._roles[number] = role

    def _drop_dead_tables(self) -> Slices:
        live = {(role.table, number) for number, role in self._roles.items()}
        for table in self._fixed.keys() - live:
            keys = self._fixed[table]
            while keys:
                part = keys[-_SLICE:]
                self._fixed_map.delete_many(part)
                del keys[-_SLICE:]
                yield
            self._fixed.pop(table, None)


@dataclass(frozen=True, slots=True)
class _Aside:
    """What is written for a plan that does not judge yet."""

    plan: Plan
    roles: tuple[RolePlan, ...]
    tables: Mapping[RoleId, int]
    alive: dict[RuleId, int]
    changed: dict[RuleId, int]  # rules of before that will end at another time


def _parts(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while part := list(islice(rest, _SLICE)):
        yield part


def _alive(plan: Plan) -> dict[RuleId, int]:
    """What the table of rules holds for each: `_ALIVE`, or when it ends by itself."""
    return dict.fromkeys(plan.rules, _ALIVE) | dict(plan.ends)


def _number(key: bytes) -> int:
    return int.from_bytes(key, "little")
