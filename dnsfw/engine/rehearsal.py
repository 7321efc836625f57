"""What would come of a query and its answer: through an engine of its own, with the answer
from a script. Nothing leaves the process, and nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field
from random import Random

from dnsfw.engine.effects import Ask, Client, Effect, OpenThenReply, Reply, Transport
from dnsfw.engine.engine import Engine
from dnsfw.model import SECOND, Addr, Entry, Name, Nanos, PortSet, RoleId, Verdict
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.values import dataclass
from dnsfw.wire import reply
from dnsfw.wire.message import AAAA, CNAME, A, Rcode, Record, read_query, read_response

__all__ = ["Rehearsed", "open_ports", "rehearse"]

_NOW = Nanos(1_000_000 * SECOND)
_TTL = 300
_MAPPED = bytes(10) + b"\xff\xff"


@dataclass(slots=True)
class Rehearsed:
    """The addresses that the client would hear, and what would be open for it."""

    told: set[Addr] = field(default_factory=set)
    entries: dict[Addr, Entry] = field(default_factory=dict)


def rehearse(
    policy: Policy, role: RoleId, name: Name, chain: Iterable[Name], addresses: Iterable[Addr]
) -> Rehearsed:
    """Somebody of this role asks, and the upstream says just this."""
    engine = Engine(policy, 1, Random(0))
    client = Client(None, role, Transport.TCP)
    found = Rehearsed()
    links, wanted = list(chain), [_packed(addr) for addr in addresses]
    for qtype, size in ((A, 4), (AAAA, 16)):
        packed = [data for data in wanted if len(data) == size]
        if not packed:
            continue
        effects = engine.on_query(reply.write_query(1, name, qtype), client, _NOW)
        for ask in [effect for effect in effects if isinstance(effect, Ask)]:
            records = list(_records(name, links, qtype, packed))
            wire = reply.write_reply(read_query(ask.wire), Rcode.NOERROR, records, limit=65535)
            effects = engine.on_answer(ask.ask, wire, _NOW)
        _note(found, effects)
    return found


def open_ports(role: RolePolicy, addr: Addr, entry: Entry | None, asked: PortSet) -> PortSet:
    """Of these ports of an address those that are open: address rules, then what names hold
    (closed before open), then the default, as the kernel has it.
    """
    left, found = asked, PortSet()
    for share in role.addr_shares(addr):
        mine = share.ports.intersect(left)
        left = left.minus(mine)
        if share.verdict is Verdict.ALLOW:
            found = found.union(mine)
    for verdict in (Verdict.DENY, Verdict.ALLOW):
        for grant in entry.grants if entry else ():
            if grant.verdict is verdict:
                mine = grant.ports.intersect(left)
                left = left.minus(mine)
                found = found.union(mine) if verdict is Verdict.ALLOW else found
    by_default = role.default is Verdict.ALLOW and not role.resolved_only
    return found.union(left) if by_default else found


def _note(found: Rehearsed, effects: Iterable[Effect]) -> None:
    for effect in effects:
        if isinstance(effect, OpenThenReply):
            found.entries |= {entry.addr: entry for entry in effect.entries}
        replies = effect.replies if isinstance(effect, OpenThenReply) else (effect,)
        for one in replies:
            if isinstance(one, Reply):
                answers = read_response(one.wire).answers
                found.told |= {_addr(r.rdata) for r in answers if r.rtype in (A, AAAA)}


def _records(
    name: Name, chain: Iterable[Name], qtype: int, packed: Iterable[bytes]
) -> Iterator[Record]:
    owner = name
    for target in chain:
        yield Record(owner, CNAME, 1, _TTL, target)
        owner = target
    for data in packed:
        yield Record(owner, qtype, 1, _TTL, data)


def _packed(addr: Addr) -> bytes:
    return addr[12:] if addr.startswith(_MAPPED) else addr


def _addr(packed: bytes) -> Addr:
    return Addr(packed if len(packed) == 16 else _MAPPED + packed)
