"""Refuses queries, by policy or for reasons outside of it, and remembers how it did."""

from __future__ import annotations

from collections.abc import Iterable

from dnsfw.engine import notes
from dnsfw.engine.cache import KEY_FLAGS, CacheKey, Front, Ready
from dnsfw.engine.effects import Client, Effect, Note, Reply
from dnsfw.engine.limits import Limits
from dnsfw.engine.pending import Waiter
from dnsfw.engine.refusals import refusal, said
from dnsfw.engine.search import expands
from dnsfw.engine.settle import render
from dnsfw.model import DEFAULT_RULE, Name, Nanos, Reason, Verdict
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.policy.rule import Judgement
from dnsfw.wire.message import PTR, Ede, Peek, Query, Rcode
from dnsfw.wire.reply import Template

_BORN = Nanos(0)
_ALWAYS = Nanos(1 << 62)  # until the policy changes: a refusal does not age
_MOST_MADE = 4096
_REMEMBERED = "RD=0 asks for what others have asked"
_new = tuple.__new__  # of a named tuple, without the call in between


class Refuser:
    """Keeps its rendered refusals apart from answers: junk must not push those out."""

    def __init__(self, policy: Policy, limits: Limits) -> None:
        self.front = Front(limits.refusals)
        self.count = 0
        self._policy = policy
        # With the judgement, so that its id stays its own.
        self._made: dict[tuple[int, int, int], tuple[Judgement, Template]] = {}

    def take(self, policy: Policy) -> None:
        """Refuse by another policy from now on."""
        self._policy = policy
        self._made.clear()
        self.front.clear()

    def by_policy(self, query: Query, client: Client, policy: RolePolicy) -> list[Effect]:
        """A denied name: the policy's own kind of refusal, which the client may cache."""
        self.count += 1
        judgement = policy.judge(query.name)
        reason, rule = judgement.reason, judgement.rule
        how = self._policy.dns.refuse
        if how != "nxdomain" and expands(query.name, policy):
            how = "nxdomain"
        template = refusal(query.name, query.qtype, how, reason, rule)
        note = notes.refused(client.role, query.name, reason, rule)
        # Else it matters that it was asked; and an address may be granted any moment.
        if rule.close is None if rule else query.qtype != PTR:
            key = CacheKey.of(client.role, query)
            self.front.put(key, Ready(template, _BORN, _ALWAYS, (note,), True))
        return [Reply(client, render(template, query, client)), note]

    def fresh(
        self, asked: Peek, client: Client, name: Name, kind: int, judgement: Judgement
    ) -> list[Effect] | None:
        """As `by_policy`, for a name below none of `local.special`, from what was made for another
        one of its length: the same judgement leads to the same octets behind the question. None:
        look closer.
        """
        reason, rule = judgement.reason, judgement.rule
        how = self._policy.dns.refuse
        if reason is Reason.BAD_LABEL or (rule is None and how != "nxdomain"):
            return None
        if rule is not None and rule.close is not None:
            return None  # it matters that it was asked
        alike = (id(judgement), len(name), kind if how == "zero" else 0)
        made = self._made.get(alike)
        if made is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            made = self._made[alike] = (judgement, refusal(name, kind, how, reason, rule))
        template = made[1]
        self.count += 1
        role = client[1]
        number = DEFAULT_RULE if rule is None else rule.id
        note = _new(
            Note, ("refused", Verdict.DENY, reason, role, name, number, "", None, None)
        )
        key = _new(CacheKey, (role, asked[2], asked[5], asked[1] & KEY_FLAGS))
        self.front.put(key, _new(Ready, (template, _BORN, _ALWAYS, (note,), True)))
        return [_new(Reply, (client, template.render(asked))), note]

    def plainly(self, query: Query, client: Client, reason: Reason, ede: Ede) -> list[Effect]:
        """REFUSED, for reasons that lie outside of any rule."""
        self.count += 1
        template = Template(query.name, Rcode.REFUSED, ede=(ede, said(reason, None)))
        note = notes.refused(client.role, query.name, reason, None)
        if reason is Reason.BY_NOTHING:  # it is in no table, so people cannot look it up
            note = note._replace(text=_REMEMBERED)
        return [Reply(client, render(template, query, client)), note]

    def everyone(self, waiters: Iterable[Waiter]) -> list[Effect]:
        """Those who wait for a name that the policy refuses by now."""
        effects: list[Effect] = []
        for waiter in waiters:
            policy = self._policy.roles.get(waiter.client.role)
            if policy is None:
                why = Reason.UNKNOWN_ASKER
                effects += self.plainly(waiter.query, waiter.client, why, Ede.PROHIBITED)
            else:
                effects += self.by_policy(waiter.query, waiter.client, policy)
        return effects
