"""What operator and host change under the engine: the policy, a lockdown, own addresses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dnsfw.engine.closing import Closing
from dnsfw.engine.effects import Cut, Effect, Holder, close
from dnsfw.engine.flows import FlowCheck, Walk
from dnsfw.engine.lookups import Done
from dnsfw.engine.pending import Pending
from dnsfw.engine.reload import judging, lives, only_looser
from dnsfw.engine.slots import Piece
from dnsfw.engine.views import Views
from dnsfw.model import Addr, Entry, Flow, Lockdown, Nanos, Reason, RoleId
from dnsfw.policy.policy import Policy
from dnsfw.wire.message import Ede

__all__ = ["Changes"]

_ALL = 1 << 62


class Changes(Views):
    """The part of `Engine` that takes another policy. Questions in flight are judged by it."""

    _lockdown: Lockdown
    _made_room: bool = False

    def _closed(self, done: Done, now: Nanos) -> list[Effect]:
        raise NotImplementedError

    def swap_policy(self, policy: Policy, now: Nanos) -> list[Effect]:
        """Judge by another policy from now on; closes at once what it refuses."""
        return self.begin_swap(policy, now) + close(self._ledger.judge_some(_ALL, now))

    def begin_swap(self, policy: Policy, now: Nanos) -> list[Effect]:
        """Judge by another policy from now on. What it refuses closes with `judge_held`, which
        is to be called until nothing is `unjudged`; an answer in between finds what it needs
        judged.
        """
        self._fresh.resume_all()
        old, self._policy = self._policy, policy
        self._take_settings(policy)
        looser = {role for role in policy.roles if only_looser(old, policy, role)}

        def keep_tail(role: RoleId, piece: Piece) -> bool:
            return role in looser and lives(policy, role, piece)

        self._ledger.begin_judging(judging(policy, self._settler.site), keep_tail)
        effects = self._closer.load(policy, now) + self._keeper.load(policy, now)
        for pending in self._lookups.table:
            if not self._still_wanted(pending):
                step = self._lookups.abandon(pending)
                assert step.done is not None
                effects += step.effects
                if pending.closing:
                    effects += self._closed(step.done, now)
                effects += self._refuser.everyone(step.done.waiters)
        return self._first(effects)

    @property
    def unjudged(self) -> bool:
        """Whether addresses are still held as the policy before said."""
        return self._ledger.unjudged

    def judge_held(self, now: Nanos, most: int) -> list[Effect]:
        """Judge so many of the addresses that were held when the policy changed."""
        entries = self._ledger.judge_some(most, now)
        self._made_room |= any(not entry.grants for entry in entries)
        if self._made_room and not self._ledger.unjudged:
            self._made_room = False
            self._front.clear()  # what was left out of an answer meanwhile may find room now
        return self._first(close(entries))

    def _still_wanted(self, pending: Pending) -> bool:
        """Whether the policy of now would send a question that is in flight (promise 7)."""
        role = pending.key.role
        if pending.closing:
            item = Closing(role, pending.name, pending.qtype)
            return self._closer.wants(item) or self._keeper.wants(item)
        policy = self._policy.roles.get(role)
        return policy is not None and self._gate.lets_ask(policy, pending.name, pending.qtype)

    def judge_flows(self, flows: Iterable[Flow], _now: Nanos, walk: Walk = None) -> list[Effect]:
        """End the flows that the policy of now refuses; remember names the others stand on."""
        by = self._policy, self._ledger, self._settler.site, self._lockdown
        cut = (walk or FlowCheck()).sort(flows, *by)
        return [Cut(tuple(cut))] if cut else []

    def restore(
        self, holders: Iterable[Holder], entries: Iterable[Entry], now: Nanos
    ) -> list[Effect]:
        """Take over grants after a restart: the journal's names, the kernel's table."""

        def keep_tail(role: RoleId, piece: Piece) -> bool:
            return lives(self._policy, role, piece)

        judge = judging(self._policy, self._settler.site)
        changed = self._ledger.adopt(entries, holders, judge, keep_tail, now)
        self._front.cleared = bool(changed)  # what the kernel tells may stand on these
        return self._first(close(changed))

    def set_lockdown(self, lockdown: Lockdown, now: Nanos) -> list[Effect]:
        """Stop answering and asking, or begin again. Flows are `judge_flows`' business."""
        if lockdown is self._lockdown is Lockdown.OFF:
            return []
        self._fresh.resume_all()
        self._lockdown = lockdown
        self._fresh.on = lockdown is Lockdown.OFF
        self._front.clear()
        self._refuser.front.clear()
        effects: list[Effect] = []
        if lockdown is Lockdown.OFF:
            return self._first(effects)
        for pending in self._lookups.table:
            step = self._lookups.abandon(pending)
            assert step.done is not None
            effects += step.effects
            if pending.closing:
                effects += self._closed(step.done, now)
            for w in step.done.waiters:
                effects += self._refuser.plainly(w.query, w.client, Reason.LOCKDOWN, Ede.BLOCKED)
        return self._first(effects)

    def set_own_addresses(self, own: Iterable[Addr]) -> list[Effect]:
        """The host's addresses: under `default: deny` no answer holds them unasked."""
        if self._settler.site.own != (mine := frozenset(own)):
            self._settler.site = replace(self._settler.site, own=mine)
            self._front.clear()
        return self._first([])

    def _first(self, effects: list[Effect]) -> list[Effect]:
        """What the kernel tells is taken back before anything is closed or judged anew."""
        return self._offers.withdrawn() + effects

    # --- the policy ---

    def _take_settings(self, policy: Policy) -> None:
        self._front.clear()
        self._refuser.take(policy)
        self._gate.take(policy)
        self._fresh.take(policy)
        self._offers.on = self._offers.able and policy.dns.kernel_answers
        self._cache.keep(policy.roles)
        self._asked = {role: self._asked.get(role, 0) for role in policy.roles}
        self._ledger.take_policy(policy)
        self._lookups.table.room.shared = len(policy.roles) > 1
        self._settler.refuse = policy.dns.refuse
        private = policy.dns.private == "allow"
        self._settler.site = replace(self._settler.site, private=private, nat64=policy.dns.nat64)
