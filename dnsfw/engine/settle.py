"""From facts to a reply: the one place where an address gets into an answer (promise 1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field

from dnsfw.engine import notes
from dnsfw.engine.cache import CacheKey, Front, Ready, seconds_since
from dnsfw.engine.effects import Client, Effect, Holder, Note, OpenThenReply, Reply, Transport
from dnsfw.engine.facts import Facts
from dnsfw.engine.filter import Blocked, Ruling, Site, rule_on, usable_records
from dnsfw.engine.ledger import Ledger
from dnsfw.engine.limits import REFUSAL_TTL
from dnsfw.engine.ordinary import ordinary
from dnsfw.engine.pending import Waiter
from dnsfw.engine.places import Left
from dnsfw.engine.refusals import failure, refusal
from dnsfw.model import SECOND, Addr, Entry, Mode, Nanos, Reason, Verdict
from dnsfw.policy.policy import Refusal, RolePolicy
from dnsfw.values import dataclass
from dnsfw.wire import reply
from dnsfw.wire.message import AAAA, A, Ede, Rcode
from dnsfw.wire.query import Asked
from dnsfw.wire.reply import Template

OVER_TCP = 65_535  # RFC 1035, section 4.2.2
_REMOVED = {
    Reason.FILTERED: (Ede.FILTERED, "an address that no answer may hold"),
    Reason.ADDRESS_RULE: (Ede.BLOCKED, "an address rule refuses the address"),
}


def render(template: Template, query: Asked, client: Client, age: int = 0) -> bytes:
    """A reply that fits the way it goes."""
    limit = OVER_TCP if client.transport is Transport.TCP else None
    return template.render(query, age, limit)


@dataclass(slots=True)
class _Held:
    """What the ledger said to the wishes of one answer."""

    usable: set[Addr]
    entries: list[Entry] = field(default_factory=list)
    holders: list[Holder] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    whole: bool = True  # every address has its grant: else a later closing would not see it
    notes: list[Note] = field(default_factory=list)


class Settler:
    """Turns facts into replies under the policy as it is at that moment."""

    def __init__(self, ledger: Ledger, front: Front, most: int) -> None:
        self.site = Site(most=most)
        self.refuse: Refusal = "nxdomain"
        self._ledger = ledger
        self._front = front

    def settle(
        self, key: CacheKey, facts: Facts, policy: RolePolicy, waiters: Sequence[Waiter], now: Nanos
    ) -> list[Effect] | None:
        """Effects that answer everyone who waits; None when the facts are too old for it.

        The caller has judged the name itself.
        """
        ruling = ordinary(facts, policy, self.site) or rule_on(facts, policy, self.site)
        if isinstance(ruling, Blocked):
            return self._blocked(key, facts, ruling, waiters, now)
        expires = Nanos(facts.born + ruling.ttl * SECOND)
        if facts.born < now and now >= expires:
            return None
        if not ruling.ttl and policy.mode is Mode.ENFORCE and ruling.judgement.is_over(now):
            return self._over(facts, ruling, waiters)
        held = self._hold(key, ruling, policy, now)
        if policy.mode is Mode.AUDIT:  # nobody holds what only the audit lets pass
            chain = facts.chain[1:]
            self._ledger.remember(key.role, facts.name, ruling.passing, chain)
        template = self._template(facts, ruling, held)
        age = seconds_since(facts.born, now)
        replies = tuple(Reply(w.client, render(template, w.query, w.client, age)) for w in waiters)
        audited = _audited(key, facts, ruling)
        # What a denied name may close behind our back is looked at each time.
        kept = not held.left and (held.whole or policy.mode is Mode.AUDIT)
        if kept and now < expires:
            # In audit, which a pause is too, addresses are told that no grant opens.
            offer = policy.mode is Mode.ENFORCE
            self._front.put(key, Ready(template, facts.born, expires, audited, offer))
        told = (*audited, *held.notes, *_filtered(key, facts, ruling))
        if held.holders:  # even with nothing new to write: the journal must know the name
            opened = OpenThenReply(tuple(held.entries), tuple(held.holders), replies)
            return [opened, *told]
        return [*replies, *told]

    def _hold(self, key: CacheKey, ruling: Ruling, policy: RolePolicy, now: Nanos) -> _Held:
        """Open before told: what cannot be held, the client does not hear."""
        held = _Held(set(ruling.passing))
        # Such roles let unknown addresses pass, so only a closing grant can stop a client.
        lenient = policy.default is Verdict.ALLOW and not policy.resolved_only
        rule = ruling.judgement.rule
        for wish in ruling.wishes:
            out = self._ledger.hold(key.role, wish.name, wish.addrs, wish.claims, now, wish.chain)
            held.entries += out.entries
            held.holders += out.holders
            held.usable.update(out.held)
            if out.shut:
                self._front.clear()
            held.whole &= not out.left
            for addr, why in out.left.items():
                written = self._ledger.written(key.role, addr)
                closed = any(grant.verdict is Verdict.DENY for grant in written)
                if policy.mode is Mode.AUDIT or (lenient and not closed):
                    held.usable.add(addr)
                else:
                    held.left.append(why)
                held.notes.append(notes.left_out(key.role, wish.name, rule, addr, why))
            for addr, other in out.shared:
                note = notes.shared(key.role, wish.name, rule, addr, other, Verdict.ALLOW)
                held.notes.append(note)
        return held

    def _template(self, facts: Facts, ruling: Ruling, held: _Held) -> Template:
        answers, authority, whole = usable_records(facts, ruling, held.usable)
        ede = self._ede(ruling, held)
        if ede is None or any(record.rtype == facts.qtype for record in answers):
            ad = facts.ad and whole
            return Template(facts.name, facts.rcode, answers, authority, ad=ad, ede=ede)
        if facts.qtype in (A, AAAA):  # every address was taken out
            if any(why is not Left.CLOSED for why in held.left):
                return failure(facts.name, ede)
            soa = reply.soa(facts.name, min(REFUSAL_TTL, ruling.ttl))
            return Template(facts.name, Rcode.NOERROR, authority=[soa], ede=ede)
        return Template(facts.name, facts.rcode, answers, authority, ede=ede)

    def _ede(self, ruling: Ruling, held: _Held) -> tuple[int, str] | None:
        """Why the answer is not what the upstream said; None when it is."""
        if held.left:
            why = next((w for w in held.left if w is not Left.CLOSED), Left.CLOSED)
            return (Ede.BLOCKED if why is Left.CLOSED else Ede.OTHER, why.value)
        if ruling.removed:
            return _REMOVED[ruling.removed[0][1]]
        return None

    def _over(self, facts: Facts, ruling: Ruling, waiters: Sequence[Waiter]) -> list[Effect]:
        """A temporary rule has ended in the kernel and not in the policy yet: nothing is told
        that would be refused (promise 1), and nothing of it is kept.
        """
        judgement = ruling.judgement
        template = refusal(
            facts.name, facts.qtype, self.refuse, Reason.NAME_DEFAULT, judgement.rule
        )
        return [Reply(w.client, render(template, w.query, w.client)) for w in waiters]

    def _blocked(
        self, key: CacheKey, facts: Facts, by: Blocked, waiters: Sequence[Waiter], now: Nanos
    ) -> list[Effect]:
        template = refusal(facts.name, facts.qtype, self.refuse, by.reason, by.rule)
        note = notes.chain_refused(key.role, facts.name, by)
        until = min(facts.expires, now + REFUSAL_TTL * SECOND)
        if now < until:
            self._front.put(key, Ready(template, now, Nanos(until), (note,), True))
        return [*(Reply(w.client, render(template, w.query, w.client)) for w in waiters), note]


def _audited(key: CacheKey, facts: Facts, ruling: Ruling) -> tuple[Note, ...]:
    """In `mode: audit` a refused name gets this far; every answer to it says so."""
    judgement, by = ruling.judgement, ruling.blocked
    if not judgement.answered:
        return (notes.audited(key.role, facts.name, judgement.reason, judgement.rule),)
    if by is not None:
        return (notes.audited(key.role, facts.name, by.reason, by.rule, by.name),)
    return ()


def _filtered(key: CacheKey, facts: Facts, ruling: Ruling) -> Iterable[Note]:
    rule = ruling.judgement.rule
    for addr, why in ruling.removed:
        yield notes.filtered(key.role, facts.name, rule, addr, why)
    if ruling.cut:
        yield notes.cut_short(key.role, facts.name, rule, ruling.cut)
