"""The answer filter: what of an answer may be passed on, and what it may open.

`rule_on` decides and opens nothing: it says which names wish to hold which addresses.
The ledger then says which of them can; `records` builds the reply from those alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import field
from ipaddress import IPv6Network
from typing import NamedTuple

from dnsfw.engine.facts import Facts, covered
from dnsfw.engine.places import Claim
from dnsfw.engine.ranges import Kind, embedded, kind
from dnsfw.engine.slots import Piece
from dnsfw.errors import WireError
from dnsfw.model import (
    DEFAULT_RULE,
    SECOND,
    Addr,
    Mode,
    Name,
    Nanos,
    PortSet,
    Reason,
    RuleId,
    Verdict,
)
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import ANY
from dnsfw.policy.rule import Judgement, Rule, Share
from dnsfw.values import dataclass
from dnsfw.wire import rdata
from dnsfw.wire.message import AAAA, HTTPS, PTR, SVCB, A, Record
from dnsfw.wire.name import ROOT

_SERVICES = (SVCB, HTTPS)
# The name of an address that is open: no rule names it, and the gate has let it pass.
_OPEN = Share(ANY, Verdict.ALLOW, None, Reason.GRANTED)
_REVERSE = Judgement((_OPEN,), True, _OPEN)


@dataclass(frozen=True, slots=True)
class Site:
    """What the filter must know besides the role's rules."""

    own: frozenset[Addr] = frozenset()  # addresses of this host
    private: bool = True  # `dns.private`: may roles with default allow hear private addresses
    most: int = 128  # addresses of one answer
    nat64: tuple[IPv6Network, ...] = ()  # translation prefixes of this network


@dataclass(frozen=True, slots=True)
class Blocked:
    """The whole answer is refused, because of this name."""

    name: Name
    reason: Reason
    rule: Rule | None


class Wish(NamedTuple):
    """A name that would hold these addresses."""

    name: Name
    chain: tuple[Name, ...]
    addrs: tuple[Addr, ...]
    claims: tuple[Claim, ...]


@dataclass(slots=True)
class Ruling:
    """What may pass if the ledger agrees."""

    judgement: Judgement
    ttl: int  # seconds from the facts' birth
    records: list[Record] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    passing: set[Addr] = field(default_factory=set)  # without any grant: an address rule opens
    removed: list[tuple[Addr, Reason]] = field(default_factory=list)
    blocked: Blocked | None = None  # by a name of the chain, were it not for `mode: audit`
    dropped: Blocked | None = None  # a service record whose target is refused
    cut: int = 0  # addresses over the cap


def rule_id(rule: Rule | None) -> RuleId:
    """The id by which kernel and notes know a rule; no rule is the default."""
    return rule.id if rule else DEFAULT_RULE


def rule_on(facts: Facts, policy: RolePolicy, site: Site) -> Ruling | Blocked:
    """What the policy as it is now makes of an answer. The caller has judged the name itself."""
    judgement = policy.judge(facts.name)
    if facts.qtype == PTR and not judgement.answered and policy.mode is Mode.ENFORCE:
        judgement = _REVERSE
    shares = list(judgement.shares)
    blocked: Blocked | None = None
    for name in facts.chain[1:]:
        link = policy.judge(name)
        shares = _less(shares, link)
        if not Judgement.of(tuple(shares)).answered:
            blocked = Blocked(name, Reason.CHAIN_DENIED, link.rule)
            break
    if policy.mode is Mode.AUDIT:
        shares = list(judgement.shares)
    elif blocked is not None:
        return blocked
    ttl = min([facts.ttl, *(_longest(s.rule, policy, facts) for s in shares if _opens(s))])
    ruling = Ruling(judgement, ttl, blocked=blocked)
    builder = _Builder(facts, policy, site, ruling)
    if facts.qtype in (A, AAAA):
        builder.addresses(shares)
    elif facts.qtype in _SERVICES:
        builder.services(shares)
    else:
        ruling.records += facts.records
    if ruling.dropped is not None and not ruling.records:
        return ruling.dropped
    return ruling


def _longest(rule: Rule | None, policy: RolePolicy, facts: Facts) -> int:
    """The seconds that an answer may live because of this rule: a temporary one ends."""
    if rule is None:
        return policy.ttl.max
    if rule.until is None:
        return rule.ttl.max
    return min(rule.ttl.max, max(0, (rule.until - facts.born) // SECOND))


def _opens(share: Share) -> bool:
    return share.verdict is Verdict.ALLOW


def _less(shares: Iterable[Share], link: Judgement) -> list[Share]:
    """The shares without the ports that a rule closes for a name of the chain.

    They become closed: the end of the chain is where the denied name's traffic would go.
    """
    left: list[Share] = []
    for share in shares:
        if not _opens(share):
            left.append(share)
            continue
        for other in link.shares:
            if other.verdict is Verdict.DENY and other.rule is not None:
                both = share.ports.intersect(other.ports)
                if both:
                    left.append(other._replace(ports=both))
                    share = share._replace(ports=share.ports.minus(both))
        if share.ports:
            left.append(share)
    return left


def claims_of(
    shares: Iterable[Share], policy: RolePolicy, ttl: int, born: Nanos
) -> tuple[Claim, ...]:
    """What a name puts on its addresses: every open port, and under `default: allow` also
    those that a rule closes. Each lasts the TTL (at least its rule's `min`) and its grace, and
    no longer than its rule.
    """
    claims: list[Claim] = []
    for share in shares:
        rule = share.rule
        if not _opens(share) and (rule is None or policy.default is Verdict.DENY):
            continue
        time = rule.ttl if rule else policy.ttl
        until = Nanos(born + (max(ttl, time.min) + time.grace) * SECOND)
        if rule is not None and rule.until is not None:
            until = min(until, rule.until)
        yields = rule is None or rule.shared == "allow"
        claims.append((Piece(rule_id(rule), share.ports, share.verdict, yields), until))
    return tuple(claims)


def pieces_for(
    name: Name, chain: Iterable[Name], policy: RolePolicy, *, leave: bool
) -> tuple[Piece, ...]:
    """The same without deadlines, for a name that is judged again by a policy of now.

    `leave` says that its address is one that `needs_leave`.
    """
    shares = list(policy.judge(name).shares)
    for link in chain:
        shares = _less(shares, policy.judge(link))
    return pieces_of(shares, policy, leave=leave)


def pieces_of(shares: Iterable[Share], policy: RolePolicy, *, leave: bool) -> tuple[Piece, ...]:
    """The same of shares: names of one wildcard have the same ones."""
    able = _private(shares) if leave else shares
    return tuple(piece for piece, _ in claims_of(able, policy, 0, Nanos(0)))


class _Builder:
    """Goes through the records of one answer and fills the ruling."""

    def __init__(self, facts: Facts, policy: RolePolicy, site: Site, ruling: Ruling) -> None:
        self._facts = facts
        self._policy = policy
        self._site = site
        self._ruling = ruling
        self._audit = policy.mode is Mode.AUDIT

    def addresses(self, shares: list[Share]) -> None:
        """A and AAAA: those that pass wish to be held by the query name."""
        kept: list[Addr] = []
        for record in self._facts.records:
            (addr,) = rdata.addresses(record)
            if (why := self._refused(addr, shares, record.rtype == AAAA)) is not None:
                self._ruling.removed.append((addr, why))
            elif len(kept) >= self._site.most:
                self._ruling.cut += 1
            else:
                kept.append(addr)
                self._ruling.records.append(record)
        self._wish(self._facts.name, self._facts.chain[1:], kept, shares)

    def services(self, shares: list[Share]) -> None:
        """SVCB and HTTPS: the target is judged as a name, the hints as its addresses."""
        owner = self._facts.chain[-1]
        for record in self._facts.records:
            try:
                binding = rdata.read_svcb(record.rdata)
            except WireError:
                continue  # a client would have to reject it (RFC 9460, section 2.2)
            name, chain, mine = self._facts.name, self._facts.chain[1:], shares
            if binding.target not in (ROOT, owner):
                judgement = self._policy.judge(binding.target)
                if not judgement.answered and not self._audit:
                    if judgement.rule is not None:
                        blocked = Blocked(binding.target, Reason.CHAIN_DENIED, judgement.rule)
                        self._ruling.dropped = blocked
                    continue
                name, chain, mine = binding.target, (), list(judgement.shares)
            hints = []
            for addr in binding.hints[: self._site.most]:
                ipv6 = addr not in _v4_hints(binding)
                if (why := self._refused(addr, mine, ipv6)) is not None:
                    self._ruling.removed.append((addr, why))
                else:
                    hints.append(addr)
            self._ruling.records.append(record)
            self._wish(name, chain, hints, mine)

    def _wish(
        self, name: Name, chain: tuple[Name, ...], addrs: list[Addr], shares: list[Share]
    ) -> None:
        """Split by what may be opened there: a private address only by rules that say so."""
        apart = [a for a in addrs if needs_leave(a, self._policy, self._site)]
        for mine, private in (([a for a in addrs if a not in apart], False), (apart, True)):
            if not mine:
                continue
            able = _private(shares) if private else shares
            claims = claims_of(able, self._policy, self._ruling.ttl, self._facts.born)
            if claims:
                self._ruling.wishes.append(Wish(name, chain, tuple(mine), claims))
            else:  # an address rule opens them, or the role only audits
                self._ruling.passing.update(mine)

    def _refused(self, addr: Addr, shares: Iterable[Share], ipv6: bool) -> Reason | None:
        """Why an address may not be in the answer; None when it may."""
        site = self._site
        if (found := kind(addr, site.own, ipv6=ipv6, nat64=site.nat64)) is Kind.SPECIAL:
            return Reason.FILTERED
        policy = self._policy
        if self._audit:
            return None
        if policy.allows_private(addr):
            self._ends(addr)
            return None
        able = [s for s in shares if _opens(s)]
        if found is Kind.PRIVATE and not _hears_private(policy, self._site):
            able = _private(able)
            if not able:
                return Reason.FILTERED
        inner = embedded(addr, site.nat64)
        for form in (addr, inner) if inner else (addr,):
            # The kernel asks address rules first: what they close must not be told.
            if not any(policy.reachable(form, _counting(share)) for share in able):
                return Reason.ADDRESS_RULE
        return None

    def _ends(self, addr: Addr) -> None:
        """What an address rule opens for a time is told for no longer (promise 2)."""
        for share in self._policy.addr_shares(addr):
            until = share.rule.until if share.rule is not None and _opens(share) else None
            if until is not None:
                left = max(0, (until - self._facts.born) // SECOND)
                self._ruling.ttl = min(self._ruling.ttl, left)


def needs_leave(addr: Addr, policy: RolePolicy, site: Site) -> bool:
    """Whether an address is private in a role that does not hear of those by itself."""
    found = kind(addr, site.own, nat64=site.nat64)
    return found is Kind.PRIVATE and not _hears_private(policy, site)


def _hears_private(policy: RolePolicy, site: Site) -> bool:
    return policy.default is Verdict.ALLOW and site.private


def _counting(share: Share) -> PortSet:
    """The ports that make an address worth telling: see `Judgement.of`."""
    return share.ports if share.rule is not None else share.ports.intersect(ANY)


def _private(shares: Iterable[Share]) -> list[Share]:
    return [share for share in shares if share.rule is not None and share.rule.private]


def _v4_hints(binding: rdata.Svcb) -> Collection[Addr]:
    only = tuple(p for p in binding.params if p[0] == rdata.IPV4HINT)
    return rdata.Svcb(binding.priority, binding.target, only).hints


def usable_records(
    facts: Facts, ruling: Ruling, usable: Collection[Addr]
) -> tuple[list[Record], list[Record], bool]:
    """Answer section, authority section, and whether both are just as the upstream sent them.

    Only addresses in `usable` are in it. Every TTL is the ruling's: the chain's least.
    """
    kept: list[Record] = []
    for record in ruling.records:
        if facts.qtype in _SERVICES:
            record = rdata.rewrite_svcb(record, lambda hint: hint in usable)
        elif facts.qtype in (A, AAAA) and rdata.addresses(record)[0] not in usable:
            continue
        kept.append(record)
    whole = kept == list(facts.records)
    proofs: Iterable[Record] = facts.proofs
    if not whole:  # a signature over the whole set would no longer fit
        proofs = [r for r in facts.proofs if covered(r) != facts.qtype]
    links = facts.links if kept or whole else ()
    answers = [*links, *kept, *(proofs if links or kept else ())]
    return (
        [_capped(r, ruling.ttl) for r in answers],
        [_capped(r, ruling.ttl) for r in facts.authority],
        whole,
    )


def _capped(record: Record, ttl: int) -> Record:
    return record if record.ttl <= ttl else record._replace(ttl=ttl)
