"""Closes the addresses of denied names in roles with `default: allow` (promise 7)."""

from __future__ import annotations

from itertools import islice
from struct import Struct

from dnsfw.engine import notes
from dnsfw.engine.cache import CacheKey
from dnsfw.engine.closing import Closing, Closings
from dnsfw.engine.effects import Close, Effect
from dnsfw.engine.facts import Facts
from dnsfw.engine.filter import Site, claims_of
from dnsfw.engine.ledger import Ledger
from dnsfw.engine.limits import Limits
from dnsfw.engine.lookups import Lookups
from dnsfw.engine.places import Claim
from dnsfw.engine.ranges import Kind, kind
from dnsfw.model import HOST, Name, Nanos, RoleId, Verdict
from dnsfw.policy.policy import Policy
from dnsfw.policy.rule import Rule
from dnsfw.wire import rdata
from dnsfw.wire.codes import IN
from dnsfw.wire.message import RD
from dnsfw.wire.name import ROOT

_PAIR = Struct(">HH")


class Closer:
    """Looks denied names up on time, and puts what comes back into the ledger."""

    def __init__(self, ledger: Ledger, lookups: Lookups, limits: Limits) -> None:
        self._ledger = ledger
        self._lookups = lookups
        self._most = limits.addresses_per_answer
        self._times = Closings(limits)

    def __len__(self) -> int:
        return len(self._times)

    def load(self, policy: Policy, now: Nanos) -> list[Effect]:
        """Take the names to close from a policy."""
        self._times.load(policy, now)
        if not self._times.left_out:
            return []
        return [notes.not_closed(HOST, ROOT, None, self._times.left_out)]

    def asked(self, role: RoleId, name: Name, rule: Rule | None, now: Nanos) -> None:
        """A client asked for a denied name."""
        if rule is not None:
            self._times.ask(role, name, rule, now)

    def wants(self, item: Closing) -> bool:
        """Whether the policy of now still asks for this look-up by itself."""
        return item in self._times

    def asking(self, item: Closing) -> bool:
        """Whether the answer to this look-up is ours."""
        return self._times.flying(item)

    def next_due(self) -> Nanos | None:
        return self._times.next_due()

    def start(self, policy: Policy, now: Nanos) -> list[Effect]:
        """The look-ups whose time has come."""
        effects: list[Effect] = []
        for item in self._times.take(now):
            if not _denied_pieces(item, policy, 0, now):
                self._times.found(item, 0, now)  # a reload allowed it meanwhile
                continue
            key = CacheKey(item.role, item.name + _PAIR.pack(item.qtype, IN), False, RD)
            asked = self._lookups.close_name(key, item.name, item.qtype, now)
            if asked is None:
                self._times.failed(item, now)
            else:
                effects += asked
        return effects

    def done(
        self, item: Closing, facts: Facts | None, policy: Policy, site: Site, now: Nanos
    ) -> tuple[list[Effect], bool]:
        """What an answer closes, and whether that took an address away from an allowed name.

        Only ordinary addresses: a denied name's owner must not be able to close the router.
        """
        if facts is None:
            self._times.failed(item, now)
            return [], False
        found = [addr for record in facts.records for addr in rdata.addresses(record)]
        able = (a for a in found if kind(a, site.own, nat64=site.nat64) is Kind.ORDINARY)
        addrs = list(islice(able, self._most))
        claims = _denied_pieces(item, policy, facts.ttl, now)
        if not addrs or not claims:
            self._times.found(item, 0, now)
            return [], False
        role = policy.roles[item.role]
        judgement = role.judge(item.name)
        rule = judgement.rule
        ttl = min([facts.ttl, *(s.rule.ttl.max for s in judgement.shares if s.rule)])
        least = max((s.rule.ttl.min for s in judgement.shares if s.rule), default=0)
        claims = _denied_pieces(item, policy, ttl, now)
        self._times.found(item, max(ttl, least, 1), now)
        out = self._ledger.hold(item.role, item.name, addrs, claims, now, facts.chain[1:])
        effects: list[Effect] = [Close(tuple(out.entries))] if out.entries else []
        for addr, why in out.left.items():
            effects.append(notes.left_out(item.role, item.name, rule, addr, why))
        for addr, other in out.shared:
            note = notes.shared(item.role, item.name, rule, addr, other, Verdict.DENY)
            effects.append(note)
        return effects, out.shut


def _denied_pieces(item: Closing, policy: Policy, ttl: int, now: Nanos) -> tuple[Claim, ...]:
    role = policy.roles.get(item.role)
    if role is None or role.default is Verdict.DENY:
        return ()
    claims = claims_of(role.judge(item.name).shares, role, ttl, now)
    return tuple(claim for claim in claims if claim[0].verdict is Verdict.DENY)
