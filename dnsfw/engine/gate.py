"""What may be asked of a name that is allowed: its type, how much its names say, and names of
addresses (rows 63 to 65). Names themselves are the policy's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dnsfw.engine import notes
from dnsfw.engine.effects import Client, Effect, Reply
from dnsfw.engine.facts import Facts
from dnsfw.engine.guard import Guards, Told
from dnsfw.engine.limits import Limits
from dnsfw.engine.ranges import Kind, kind
from dnsfw.engine.refusals import failure, nothing, refusal_as
from dnsfw.engine.reverse import address_of
from dnsfw.engine.settle import render
from dnsfw.model import Addr, Grant, Mode, Name, Nanos, RoleId, Verdict
from dnsfw.policy.pattern import Pattern
from dnsfw.policy.policy import Policy, Refusal, RolePolicy
from dnsfw.policy.questions import Action, Guard, Types
from dnsfw.policy.rule import Judgement, Rule
from dnsfw.wire.message import ANY, PTR, Ede, Query

__all__ = ["Gate", "Granted", "guard_of", "types_of"]

Granted = Callable[[RoleId, Addr], tuple[Grant, ...]]


class Gate:
    """Asked after the policy has let a name pass, and once more before a byte goes upstream."""

    def __init__(self, granted: Granted, limits: Limits) -> None:
        self.guards = Guards(limits)
        self.types_refused = 0
        self._granted = granted
        self._refuse: Refusal = "nxdomain"

    def take(self, policy: Policy) -> None:
        """Judge by another policy from now on. What domains have said stays."""
        self._refuse = policy.dns.refuse

    def lets_ask(self, policy: RolePolicy, name: Name, qtype: int) -> bool:
        """Whether the policy as it is now would send this question (promise 7)."""
        if policy.mode is Mode.AUDIT:
            return True
        judgement = policy.judge(name)
        if not judgement.answered:
            return self.reverse(policy, name, qtype)
        return _types(judgement, policy, qtype)

    def reverse(self, policy: RolePolicy, name: Name, qtype: int) -> bool:
        """Whether it is the name of an address that the role may reach (row 65): by a grant
        that is there now, or by an address rule. A rule that denies the name has the last word.
        """
        if qtype != PTR or (addr := address_of(name)) is None:
            return False
        if policy.judge(name).rule is not None or kind(addr, frozenset()) is Kind.SPECIAL:
            return False
        return policy.allows_private(addr) or any(
            grant.verdict is Verdict.ALLOW for grant in self._granted(policy.role, addr)
        )

    def refuses_type(
        self, query: Query, client: Client, policy: RolePolicy, judgement: Judgement
    ) -> list[Effect] | None:
        """An empty answer for a type that may not be asked for: the name itself is there, so
        NXDOMAIN would hide its addresses too (RFC 8020).
        """
        if policy.mode is Mode.AUDIT or _types(judgement, policy, query.qtype):
            return None
        self.types_refused += 1
        note = notes.type_refused(client.role, query.name, judgement.rule, query.qtype)
        template = nothing(query.name, (Ede.BLOCKED, note.text))
        return [Reply(client, render(template, query, client)), note]

    def before_asking(
        self, query: Query, client: Client, policy: RolePolicy, judgement: Judgement, now: Nanos
    ) -> tuple[bool, list[Effect]]:
        """Whether the question may go upstream, with what there is to say, and if not, the
        reply.
        """
        role, rule, audit = client.role, judgement.rule, policy.mode is Mode.AUDIT
        said: list[Effect] = []
        if audit and judgement.answered and not _types(judgement, policy, query.qtype):
            said.append(notes.type_refused(role, query.name, rule, query.qtype, audited=True))
        guard = guard_of(policy, judgement, query.name)
        if guard is None:
            return True, said
        told = self.guards.asks(role, guard, query.name, query.qtype, now)
        if told is None:
            return True, said
        may, more = self.told(query, client, rule, guard, told)
        return may, said + more if may else more

    def told(
        self, query: Query, client: Client, rule: Rule | None, guard: Guard, told: Told
    ) -> tuple[bool, list[Effect]]:
        """What becomes of a question that shows a sign."""
        note = notes.guarded(client.role, query.name, rule, told.text, held=told.held)
        if told.held:
            return False, [self._reply(query, client, guard, told), note]
        return True, [note]

    def answered(self, policy: Policy, role: RoleId, facts: Facts) -> None:
        """An answer to a client's question came back."""
        mine = policy.roles.get(role)
        if mine is not None and len(self.guards):
            guard = guard_of(mine, mine.judge(facts.name), facts.name)
            if guard is not None:
                self.guards.answered(role, guard, facts.name, facts.rcode)

    def stats(self) -> dict[str, int]:
        """Counters and sizes, under stable names."""
        return {
            "types_refused": self.types_refused,
            "guard_signs": self.guards.signs,
            "guard_held": self.guards.held,
            "guard_domains": len(self.guards),
            "guard_names": self.guards.names,
        }

    def _reply(self, query: Query, client: Client, guard: Guard, told: Told) -> Reply:
        """Throttled: a failure, which nobody keeps and a client tries again."""
        ede = (Ede.BLOCKED, f"guard: {told.text}")
        if guard.action is Action.THROTTLE:
            template = failure(query.name, ede)
        else:
            template = refusal_as(self._refuse, query.name, query.qtype, ede)
        return Reply(client, render(template, query, client))


def guard_of(policy: RolePolicy, judgement: Judgement, name: Name) -> Guard | None:
    """The guard that a name stands under. None: an exact name, which says nothing, or `off`."""
    rule, guard = judgement.rule, policy.questions.guard
    if rule is not None:
        what = rule.what
        if isinstance(what, Pattern) and what.suffix == name:
            return None
        guard = rule.guard or guard
    if guard.action is Action.OFF:
        return None
    if policy.mode is Mode.AUDIT:
        return replace(guard, action=Action.LOG)
    return guard


def types_of(policy: RolePolicy, judgement: Judgement) -> Types:
    """The types that may be asked for a name: the rule's, else the role's."""
    rule = judgement.rule
    return rule.qtypes if rule is not None and rule.qtypes else policy.questions.types


def _types(judgement: Judgement, policy: RolePolicy, qtype: int) -> bool:
    """Whether a type may be asked for; ANY is answered here."""
    return types_of(policy, judgement).has(qtype) or qtype == ANY
