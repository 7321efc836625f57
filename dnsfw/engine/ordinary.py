"""What the policy makes of most answers, in one step: addresses of the very name that was
asked for, ordinary ones, of which no address rule speaks.

`filter.rule_on` says the same of them, at five times the cost, and of every other answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dnsfw.engine.facts import Facts
from dnsfw.engine.filter import Ruling, Site, Wish, rule_id
from dnsfw.engine.ranges import Kind, embedded, kind
from dnsfw.engine.slots import Piece
from dnsfw.model import SECOND, Addr, Mode, Nanos, Verdict
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.ports import ANY
from dnsfw.policy.rule import Judgement, Ttl
from dnsfw.wire.message import AAAA, A

__all__ = ["Meaning", "meaning", "ordinary"]

_MAPPED = bytes(10) + b"\xff\xff"


class Meaning(NamedTuple):
    """What a judgement comes to, whatever the address."""

    judgement: Judgement
    ttl: Ttl  # of the policy that was asked
    default: Verdict
    claims: tuple[tuple[Piece, Ttl], ...]
    longest: int  # seconds


_KNOWN: dict[int, Meaning] = {}  # by the id of a judgement, which it keeps alive
_MOST = 1024


def ordinary(facts: Facts, policy: RolePolicy, site: Site) -> Ruling | None:
    """The ruling; None where the answer wants a closer look."""
    if (
        len(facts.chain) > 1
        or (facts.qtype != A and facts.qtype != AAAA)
        or not 0 < len(facts.records) <= site.most
        or policy.mode is Mode.AUDIT
    ):
        return None
    judgement = policy.judge(facts.name)
    means = _KNOWN.get(id(judgement)) or meaning(judgement, policy)
    if means is None or means.ttl is not policy.ttl or means.default is not policy.default:
        _KNOWN.pop(id(judgement), None)  # another policy's; it is made anew next time
        return None
    ipv6 = facts.qtype == AAAA
    addrs = []
    for record in facts.records:
        addr = Addr(record.rdata if ipv6 else _MAPPED + record.rdata)
        if kind(addr, site.own, ipv6=ipv6) is not Kind.ORDINARY or policy.addr_shares(addr):
            return None
        if ipv6 and embedded(addr, site.nat64) is not None:
            return None
        addrs.append(addr)
    ttl, born = min(facts.ttl, means.longest), facts.born
    claims = tuple(
        (piece, Nanos(born + (max(ttl, time.min) + time.grace) * SECOND))
        for piece, time in means.claims
    )
    wish = Wish(facts.name, (), tuple(addrs), claims)
    return Ruling(judgement, ttl, list(facts.records), [wish])


def meaning(judgement: Judgement, policy: RolePolicy) -> Meaning | None:
    """Policies have few judgements, so it is kept. None: a rule that ends by itself is among
    them, or nothing that counts is opened.
    """
    if any(share.rule is not None and share.rule.until is not None for share in judgement.shares):
        return None
    opening = [share for share in judgement.shares if share.verdict is Verdict.ALLOW]
    counting = [share for share in opening if share.rule or share.ports.intersect(ANY)]
    claims = tuple(_claims(judgement, policy))
    if not judgement.answered or not counting or not claims:
        return None
    longest = min(share.rule.ttl.max if share.rule else policy.ttl.max for share in opening)
    made = Meaning(judgement, policy.ttl, policy.default, claims, longest)
    if len(_KNOWN) >= _MOST:
        _KNOWN.clear()
    _KNOWN[id(judgement)] = made
    return made


def _claims(judgement: Judgement, policy: RolePolicy) -> Iterator[tuple[Piece, Ttl]]:
    """As `filter.claims_of`, before a TTL is known."""
    for share in judgement.shares:
        rule, closes = share.rule, share.verdict is Verdict.DENY
        if closes and (rule is None or policy.default is Verdict.DENY):
            continue
        yields = rule is None or rule.shared == "allow"
        piece = Piece(rule_id(rule), share.ports, share.verdict, yields)
        yield piece, rule.ttl if rule else policy.ttl
