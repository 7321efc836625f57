"""The tables of the wall: what the policy and the answers open, written to the kernel.

`apply` swaps a whole policy; `write` opens or closes addresses, one map update each.
What was written before, by us or by an earlier process, is read back from the maps
themselves, so a restart knows all that the kernel knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from dnsfw.datapath import abi
from dnsfw.datapath.swap import (
    Generation,
    PolicyTables,
    Slices,
    Swapped,
    Table,
    nothing,
    rcu_barrier,
)
from dnsfw.datapath.tables import (
    PortSets,
    PortSetsFull,
    decode_entry,
    decode_flow,
    encode_entries,
    encode_entry,
    encode_grant_key,
    grant_portsets,
    is_full,
    number_key,
    sum_counters,
)
from dnsfw.errors import DatapathError, GrantsFull
from dnsfw.model import Entry, Flow, Lockdown, Plan, Reason, RoleId

_FLOW_MAPS = (("dnsfw_flows", False), ("dnsfw_flows_in", True))
_MANY = 3  # entries: from here on one batch call costs less than a call for each
_ROLES = range(abi.Limit.MAX_ROLES)
_REASONS = tuple(reason for reason in Reason if reason is not Reason.REASON_COUNT)


class Sink(Protocol):
    """Where the engine's effects land: the kernel, or memory in a test."""

    def apply(self, plan: Plan, between: Callable[[], None] = nothing) -> None:
        """Swaps the whole policy; when it returns, the old one judges no packet.

        `between` is called once, when the new policy judges but the grants of rules that it
        no longer has still count: the moment to rewrite them. DatapathError leaves the old
        policy in force, and `between` uncalled.
        """

    def begin(self, plan: Plan, between: Callable[[], None] = nothing) -> Swapped:
        """`apply` but for the end of the old rules, and the wait: what comes back has both, for
        who must not stand still. Until then grants of rules that are no more still count, and a
        packet that is just being judged may be judged by the old policy.
        """

    def aside(self, plan: Plan) -> Slices:
        """Write what this plan needs and no packet looks at yet, some of it with each step:
        `begin` of the same plan has the less to do. DatapathError leaves nothing of it.
        """

    def write(self, entries: Sequence[Entry]) -> None:
        """Writes each entry whole; one without grants is deleted.

        GrantsFull: those that found room are written, the others are as they were.
        """

    def entries(self) -> Iterator[Entry]:
        """Everything in the grants table, expired grants too."""

    def flows(self) -> Iterator[Flow]:
        """Every conversation that is still remembered."""

    def cut(self, flows: Iterable[Flow]) -> None:
        """Forgets these conversations: their next packet is judged anew."""

    def counters(self) -> dict[Reason, abi.Counter]:
        """What happened to packets since the wall was built, by reason."""

    def role_counters(self) -> dict[RoleId, abi.Counter]:
        """The same by the role of who sent them, where anything happened; the self-test's too."""

    def lockdown(self, state: Lockdown) -> None:
        """Stops every role at once, or lets go; survives a restart."""

    @property
    def locked(self) -> Lockdown:
        """What `lockdown` said last, by an earlier process too."""


class KernelSink:
    """A `Sink` over maps. It is the only writer of the tables it holds."""

    def __init__(
        self,
        maps: Mapping[str, Table],
        barrier: Callable[[], None] = rcu_barrier,
        capacity: int = abi.Limit.MAX_GRANTS,
    ) -> None:
        self._maps = maps
        self._barrier = barrier
        self._capacity = capacity
        self._grants = maps["dnsfw_grants"]
        portsets = maps["dnsfw_portsets"]
        self._portsets = PortSets(lambda n, value: portsets.update(number_key(n), value))
        for key, value in portsets.items():
            self._portsets.adopt(int.from_bytes(key, "little"), value)
        self._policy = PolicyTables(maps, self._portsets.id_of, barrier)
        self._generation = Generation(maps["dnsfw_generation"])

    def apply(self, plan: Plan, between: Callable[[], None] = nothing) -> None:
        self.begin(plan, between).settle()

    def begin(self, plan: Plan, between: Callable[[], None] = nothing) -> Swapped:
        try:
            return self._policy.begin(plan, between)
        except PortSetsFull:  # before the flip: `between` was not called
            self._collect()
            return self._policy.begin(plan, between)

    def aside(self, plan: Plan) -> Slices:
        try:
            yield from self._policy.aside(plan)
        except PortSetsFull:
            self._collect()
            yield from self._policy.aside(plan)

    def write(self, entries: Sequence[Entry]) -> None:
        if len(entries) >= _MANY and self._write_at_once(entries):
            return
        grants, encode = self._grants, self._encode
        full: DatapathError | None = None
        for entry in entries:
            if not entry.grants:
                grants.delete(encode_grant_key(entry))
                continue
            try:
                grants.update(*encode(entry))
            except DatapathError as error:
                if not is_full(error):
                    raise
                full = error
        if full is not None:
            raise GrantsFull(self._capacity) from full

    def _write_at_once(self, entries: Sequence[Entry]) -> bool:
        """One call for all that opens, and one for all that is deleted. False: go through them
        one by one, which says what is wrong, and writes again what may have been written.
        """
        gone = [entry for entry in entries if not entry[2]]
        if gone:  # of an address that comes twice the last word counts
            last = {entry[:2]: entry for entry in entries}
            gone = [entry for entry in last.values() if not entry[2]]
            entries = [entry for entry in last.values() if entry[2]]
        id_of = self._portsets.id_of
        try:  # nothing may be collected before all of it is written
            if gone:  # first: they make room
                self._grants.delete_many([encode_grant_key(entry) for entry in gone])
            if entries:
                self._grants.update_many(encode_entries(entries, id_of))
        except DatapathError:
            return False
        return True

    def entries(self) -> Iterator[Entry]:
        for key, value in self._grants.items():
            yield decode_entry(key, value, self._portsets.ports)

    def flows(self) -> Iterator[Flow]:
        for name, inbound in _FLOW_MAPS:
            for key, value in self._maps[name].items():
                yield decode_flow(key, value, inbound=inbound)

    def cut(self, flows: Iterable[Flow]) -> None:
        tables = {inbound: self._maps[name] for name, inbound in _FLOW_MAPS}
        for flow in flows:
            tables[flow.inbound].delete(flow.key)
        self._generation.renew()

    def counters(self) -> dict[Reason, abi.Counter]:
        counters = self._maps["dnsfw_counters"]
        return {
            reason: sum_counters(counters.lookup(number_key(reason)) or b"") for reason in _REASONS
        }

    def role_counters(self) -> dict[RoleId, abi.Counter]:
        counters = self._maps["dnsfw_role_counters"]
        shares = ((number, counters.lookup(number_key(number))) for number in _ROLES)
        found = {RoleId(number): sum_counters(share or b"") for number, share in shares}
        return {role: counter for role, counter in found.items() if any(counter)}

    def lockdown(self, state: Lockdown) -> None:
        self._policy.lockdown(state)

    @property
    def locked(self) -> Lockdown:
        return self._policy.locked

    def verify(self) -> tuple[str, ...]:
        """Writes again what somebody else changed of the roles; names the tables."""
        return self._policy.verify()

    def _encode(self, entry: Entry) -> tuple[bytes, bytes]:
        try:
            return encode_entry(entry, self._portsets.id_of)
        except PortSetsFull:
            # The whole entry again: a number that it was given just now is free too.
            self._collect()
            return encode_entry(entry, self._portsets.id_of)

    def _collect(self) -> None:
        """Frees the numbers of port sets that no table names any more."""
        used = self._policy.portsets_used()
        for _, value in self._grants.items():
            used |= grant_portsets(value)
        # A program may have read a slot just before it was overwritten.
        self._barrier()
        self._portsets.collect(used)
