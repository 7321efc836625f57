"""What an upstream's answer says about one question, before any policy looks at it.

Only records owned by the query name, or by a name on the one complete CNAME chain from
it, are facts. Everything else in the message is somebody's wish.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dnsfw.engine.limits import CHAIN_MAX, NEGATIVE_MAX_TTL
from dnsfw.errors import WireError
from dnsfw.model import SECOND, Name, Nanos
from dnsfw.wire import rdata
from dnsfw.wire.codes import IN
from dnsfw.wire.message import CNAME, DNAME, NSEC, RRSIG, SOA, Rcode, Record, Response
from dnsfw.wire.name import is_below, read_name
from dnsfw.wire.plain import HEAD, ROWS

_NSEC3 = 50
_DENIALS = frozenset({SOA, NSEC, _NSEC3, RRSIG})
_SIGNER_AT = 18  # RFC 4034, section 3.1
_COST = 400  # bytes of Python objects around an answer, and around each record below
_RECORD_COST = 200


class Facts(NamedTuple):
    """The answer, cut down to what belongs to its question."""

    name: Name
    qtype: int
    rcode: int
    chain: tuple[Name, ...]  # the query name first, then where each CNAME leads
    links: tuple[Record, ...]  # the CNAMEs, in order
    records: tuple[Record, ...]  # of the type that was asked for, owned by the chain's end
    proofs: tuple[Record, ...]  # signatures and DNAMEs of the above, for clients that set DO
    authority: tuple[Record, ...]
    ttl: int  # seconds, the least of the chain
    born: Nanos
    ad: bool

    @property
    def negative(self) -> bool:
        return not self.records

    @property
    def expires(self) -> Nanos:
        return Nanos(self.born + self.ttl * SECOND)

    @property
    def cost(self) -> int:
        cost = _COST
        for part in (self.links, self.records, self.proofs, self.authority):
            for record in part:
                cost += _RECORD_COST + len(record.owner) + len(record.rdata)
        return cost


# Facts that are nothing but addresses of the very name that was asked for: name, type, records
# as they came, TTL, birth, AD. Most answers are asked for once, so most are never wanted in
# another form; and a tuple of plain values is nothing that the garbage collector looks at.
Plain = tuple[Name, int, bytes, int, Nanos, bool]


def plain_cost(plain: Plain) -> int:
    """As `Facts.cost`."""
    name, qtype, body, _, _, _ = plain
    size = ROWS[qtype].size
    return _COST + len(body) // size * (_RECORD_COST + len(name) + size - HEAD)


def whole_facts(plain: Plain) -> Facts:
    """The same, as everybody else has them."""
    name, qtype, body, ttl, born, ad = plain
    records = tuple(
        [Record(name, qtype, IN, ttl, a) for _, ttl, _, a in ROWS[qtype].iter_unpack(body)]
    )
    return Facts(name, qtype, Rcode.NOERROR, (name,), (), records, (), (), ttl, born, ad)


def read_facts(response: Response, name: Name, qtype: int, do: bool, now: Nanos) -> Facts:
    """The facts in an answer; WireError for a chain that no honest server sends."""
    if not do and _plain(response.answers, name, qtype):
        ttl = min([record.ttl for record in response.answers])
        found = response.answers
        if len(found) > 1:
            found = tuple(dict.fromkeys(found))
        return Facts(
            name, qtype, Rcode.NOERROR, (name,), (), found, (), (), ttl, now, response.ad
        )
    records: dict[tuple[Name, int], list[Record]] = {}
    for record in response.answers:
        if record.rclass == IN:
            records.setdefault((record.owner, record.rtype), []).append(record)
    chain, links = _follow(records, name, qtype)
    found = tuple(dict.fromkeys(records.get((chain[-1], qtype), ())))
    proofs = tuple(_proofs(records, chain, qtype)) if do else ()
    # The SOA only says how long a "no" may be kept: beside records it is of no use.
    authority = tuple(_authority(response.authority, chain, do)) if do or not found else ()
    ttls = [record.ttl for record in (*links, *found)]
    if not found:
        # RFC 2308, section 5: without an SOA a negative answer is not kept.
        ttls.append(min(rdata.negative_ttl(authority) or 0, NEGATIVE_MAX_TTL))
    ttl = min(ttls)
    return Facts(
        name=name,
        qtype=qtype,
        rcode=Rcode.NOERROR if found else response.rcode,
        chain=chain,
        links=tuple(links),
        records=found,
        proofs=proofs,
        authority=tuple(r._replace(ttl=min(r.ttl, ttl)) for r in authority),
        ttl=ttl,
        born=now,
        ad=response.ad,
    )


def _plain(answers: tuple[Record, ...], name: Name, qtype: int) -> bool:
    """Whether there is nothing in it but what was asked for: most answers."""
    for record in answers:
        if record.rtype != qtype or record.owner != name or record.rclass != IN:
            return False
    return bool(answers)


def _follow(
    records: dict[tuple[Name, int], list[Record]], name: Name, qtype: int
) -> tuple[tuple[Name, ...], list[Record]]:
    chain = [name]
    links: list[Record] = []
    while (chain[-1], qtype) not in records and (aliases := records.get((chain[-1], CNAME))):
        target = rdata.target(aliases[0])
        if target is None or any(rdata.target(other) != target for other in aliases):
            raise WireError("one name has two CNAMEs")  # RFC 2181, section 10.1
        if target in chain:
            raise WireError("CNAME chain runs in a circle")
        if len(links) >= CHAIN_MAX:
            raise WireError("CNAME chain is too long")
        links.append(aliases[0])
        chain.append(target)
    return tuple(chain), links


def _proofs(
    records: dict[tuple[Name, int], list[Record]], chain: tuple[Name, ...], qtype: int
) -> Iterator[Record]:
    for at, name in enumerate(chain):
        covered = {qtype} if at == len(chain) - 1 else {CNAME}
        yield from _covering(records.get((name, RRSIG), ()), covered)
    for (owner, rtype), found in records.items():
        if rtype == DNAME and any(is_below(name, owner) for name in chain):
            yield from found
            yield from _covering(records.get((owner, RRSIG), ()), {DNAME})


def _covering(signatures: Iterable[Record], types: set[int]) -> Iterator[Record]:
    for record in signatures:
        if covered(record) in types and record.rtype not in types:
            yield record


def covered(signature: Record) -> int:
    """The type that an RRSIG signs."""
    return int.from_bytes(signature.rdata[:2], "big")


def _authority(records: Iterable[Record], chain: tuple[Name, ...], do: bool) -> Iterator[Record]:
    """The SOA of a negative answer, and for DO the proof, of zones that hold the chain."""
    mine = [r for r in records if r.rclass == IN and r.rtype in _DENIALS]
    zones = {r.owner for r in mine if r.rtype == SOA} | {
        zone for r in mine if r.rtype == RRSIG and (zone := _signer(r)) is not None
    }
    zones = {z for z in zones if any(name == z or is_below(name, z) for name in chain)}
    for record in mine:
        inside = any(record.owner == z or is_below(record.owner, z) for z in zones)
        if inside and (do or record.rtype == SOA):
            yield record


def _signer(record: Record) -> Name | None:
    try:
        return read_name(bytes(12) + record.rdata, 12 + _SIGNER_AT)[0]
    except WireError:
        return None
