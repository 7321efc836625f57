"""The engine: the whole surface of the core. Events come in with their time, effects go out.

It knows no socket, no clock and no kernel. `_decide` is the order in which a query is
judged; `settle.py` is the only place where an address gets into a reply.
"""

from __future__ import annotations

from dnsfw.engine import notes
from dnsfw.engine.cache import KEY_FLAGS, Cache, CacheKey, Front, seconds_since
from dnsfw.engine.changes import Changes
from dnsfw.engine.closer import Closer
from dnsfw.engine.closing import Closing
from dnsfw.engine.effects import (
    Ask,
    AskId,
    Client,
    Close,
    Effect,
    OpenThenReply,
    Reply,
    Transport,
    close,
)
from dnsfw.engine.fresh import Fresh
from dnsfw.engine.gate import Gate
from dnsfw.engine.keeper import Keeper
from dnsfw.engine.ledger import Ledger
from dnsfw.engine.limits import CLIENT_PATIENCE, TRY_PATIENCE, Limits
from dnsfw.engine.local import local_answer
from dnsfw.engine.lookups import Done, Lookups, Rng, Step
from dnsfw.engine.offers import Offers, asked_name, asked_type
from dnsfw.engine.pending import Waiter
from dnsfw.engine.refusals import any_answer, failure, instead
from dnsfw.engine.refuser import Refuser
from dnsfw.engine.settle import OVER_TCP, Settler, render
from dnsfw.model import Lockdown, Mode, Nanos, Reason, RoleId
from dnsfw.policy.policy import Policy
from dnsfw.wire.message import ANY, Ede, Peek, Query, Refuse, peek, read_query, whole
from dnsfw.wire.reply import Template, write_error

_NO_ROOM = "too many questions in flight"


class Engine(Changes):
    """Queries, answers and deadlines in; replies, grants and questions out.

    `rng` must be `random.SystemRandom` in production. `trusted` are the upstreams whose
    AD bit is believed (RFC 4035, section 4.9.3); `streams` are never asked over UDP.
    `publishes` where the kernel can give answers itself, `copies` where other processes do:
    whatever empties a front is then told by a Withdraw.
    """

    def __init__(
        self,
        policy: Policy,
        upstreams: int,
        rng: Rng,
        limits: Limits | None = None,
        *,
        trusted: frozenset[int] = frozenset(),
        streams: frozenset[int] = frozenset(),
        publishes: bool = False,
        copies: bool = False,
    ) -> None:
        limits = limits or Limits()
        self._policy = policy
        self._lockdown = Lockdown.OFF
        self._ledger = Ledger(limits)
        self._cache = Cache(limits)
        self._front: Front = Front(limits.front)
        self._refuser = Refuser(policy, limits)
        self._lookups = Lookups(upstreams, rng, limits)
        self._lookups.trusted, self._lookups.streams = trusted, streams
        self._settler = Settler(self._ledger, self._front, limits.addresses_per_answer)
        self._gate = Gate(self._ledger.written, limits)
        self._closer = Closer(self._ledger, self._lookups, limits)
        self._keeper = Keeper(self._lookups, self._cache, limits, rng)
        fronts = self._front, self._refuser.front
        self._fresh = Fresh(
            self._lookups, self._cache, self._ledger, self._gate, self._settler, self._front,
            self._refuser,
        )  # fmt: skip
        self._offers = Offers(fronts, self._lookups, limits, able=publishes, copied=copies)
        self._counts = dict.fromkeys(
            ("queries", "hits", "malformed", "local", "coalesced", "failed"), 0
        )
        self._asked: dict[RoleId, int] = {}  # queries of each role there is
        self._take_settings(policy)
        self._closer.load(policy, Nanos(0))
        self._keeper.load(policy, Nanos(0))
        self._offers.begin()

    # --- queries ---

    def on_query(self, wire: bytes, client: Client, now: Nanos) -> list[Effect]:
        """What to do with a client's message. The first half is the hot path.

        What the front holds was judged by the policy of now: everything that changes a
        judgement, or takes a grant away, empties it.
        """
        self._counts["queries"] += 1
        if client.role in self._asked:
            self._asked[client.role] += 1
        asked = peek(wire)
        if asked is not None:
            # Not `CacheKey` itself, which the garbage collector would look at while it is kept.
            key: CacheKey = (  # type: ignore[assignment]
                client[1], asked[2], asked[5], asked[1] & KEY_FLAGS,
            )
            known = None
            if key in self._front.items or key in self._refuser.front.items:
                known = self._known(asked, client, now, wire)
            if known is None:
                known = self._fresh.asked(asked, key, client, now)
            if known is not None:
                return known
        try:
            query = read_query(wire) if asked is None else whole(asked)
        except Refuse as error:
            self._counts["malformed"] += 1
            said = write_error(error)
            return [] if said is None else [Reply(client, said)]
        # dig and others send an option with every query, which peek leaves to read_query.
        if asked is None and (known := self._known(query, client, now)) is not None:
            return known
        return self._first(self._decide(query, client, now))

    def _known(
        self, asked: Peek | Query, client: Client, now: Nanos, wire: bytes = b""
    ) -> list[Effect] | None:
        """A reply that is ready, or None. `wire`: copies of it need no reading for a while."""
        key = (client.role, asked.key, asked.do, asked.flags & KEY_FLAGS)
        found = self._front.find(key)
        if found is not None and now < (ready := self._front.ripe(key, found)).until:
            self._counts["hits"] += 1
            limit = None if client.transport is Transport.UDP else OVER_TCP
            age = seconds_since(ready.born, now)
            reply = Reply(client, ready.template.render(asked, age, limit))
            if wire and limit is None and not ready.notes:
                self._front.repeat(wire, asked, client.role, ready, now)
            if ready.offer and self._offers.on:
                return [reply, *ready.notes, self._offers.make(CacheKey(*key), ready)]
            return [reply, *ready.notes] if ready.notes else [reply]
        if (refused := self._refuser.front.get(key)) is not None:
            ready = refused
            self._refuser.count += 1
            reply = Reply(client, render(ready.template, asked, client))
            if ready.offer and self._offers.on:
                return [reply, *ready.notes, self._offers.make(CacheKey(*key), ready)]
            return [reply, *ready.notes]
        return None

    def _decide(self, query: Query, client: Client, now: Nanos) -> list[Effect]:
        """Every stage a query goes through, in order; each one answers it or lets it on."""
        name, role = query.name, client.role
        # 1. Without a role nobody can be judged: no mark on the packet, or a role that a
        #    reload took away (DESIGN, section 7). Never as `host`.
        policy = self._policy.roles.get(role)
        if policy is None:
            return self._refuser.plainly(query, client, Reason.UNKNOWN_ASKER, Ede.PROHIBITED)
        # 2. In a lockdown nothing is told and nobody is asked.
        if self._lockdown is not Lockdown.OFF:
            return self._refuser.plainly(query, client, Reason.LOCKDOWN, Ede.BLOCKED)
        # 3. Names that are nobody's business but ours: before RD and before policy.
        reverse = self._gate.reverse(policy, name, query.qtype)  # of an address that is open
        if not reverse and (local := local_answer(name, query.qtype, policy)) is not None:
            self._counts["local"] += 1
            template = Template(name, local.rcode, local.answers, local.authority, aa=True)
            return [Reply(client, render(template, query, client))]
        # 4. RD=0 asks what the cache holds: other people's questions.
        if not query.rd:
            return self._refuser.plainly(query, client, Reason.BY_NOTHING, Ede.PROHIBITED)
        # 5. Policy, before anything that could send a byte (promise 7).
        judgement = policy.judge(name)
        if not judgement.answered and policy.mode is Mode.ENFORCE and not reverse:
            self._closer.asked(role, name, judgement.rule, now)
            return self._refuser.by_policy(query, client, policy)
        if (said := self._gate.refuses_type(query, client, policy, judgement)) is not None:
            return said
        # 6. ANY would tell everything at once (RFC 8482).
        if query.qtype == ANY:
            return [Reply(client, render(any_answer(name), query, client))]
        # 7. What is known already, judged by the policy of now.
        key = CacheKey.of(role, query)
        if (facts := self._cache.get(key, now)) is not None:
            waiter = Waiter(client, query, now)
            if (done := self._settler.settle(key, facts, policy, (waiter,), now)) is not None:
                self._counts["hits"] += 1
                return done
        # 8. What has just failed is not asked again (RFC 9520).
        if (ede := self._cache.failure(key, now)) is not None:
            return [self._servfail(query, client, ede)]
        # 9. What leaves in names, unless they say too much; ask, or wait with those who have.
        may, said = self._gate.before_asking(query, client, policy, judgement, now)
        return said + self._ask(key, query, client, now) if may else said

    def _ask(self, key: CacheKey, query: Query, client: Client, now: Nanos) -> list[Effect]:
        self._fresh.resume_key(key)
        asking = len(self._lookups.table)
        effects = self._lookups.join(key, client, query, now)
        if effects is None:
            return [self._servfail(query, client, Ede.NO_REACHABLE_AUTHORITY, _NO_ROOM)]
        self._counts["coalesced"] += len(self._lookups.table) == asking
        return effects

    def _servfail(self, query: Query, client: Client, ede: Ede, text: str = "") -> Reply:
        self._counts["failed"] += 1
        return Reply(client, render(failure(query.name, (ede, text)), query, client))

    # --- answers ---

    def on_answer(self, ask: AskId, wire: bytes, now: Nanos) -> list[Effect]:
        """A datagram, or a message, that came back for an Ask. Junk leads to nothing."""
        if (said := self._fresh.answer(ask, wire, now)) is not None:
            cleared = self._front.cleared or self._refuser.front.cleared
            return self._first(said) if cleared else said
        return self._first(self._finish(self._lookups.on_answer(ask, wire, now), now))

    def on_ask_failed(self, ask: AskId, why: str, now: Nanos) -> list[Effect]:
        """The way to the upstream broke: ICMP refused, TCP reset, no route."""
        self._fresh.resume(ask)
        return self._first(self._finish(self._lookups.on_failed(ask, why, now), now))

    def _finish(self, step: Step, now: Nanos) -> list[Effect]:
        done = step.done
        if done is None:
            return step.effects
        if done.pending.closing:
            return step.effects + self._closed(done, now)
        if done.facts is None:
            return step.effects + self._failed(done, now)
        self._cache.put(done.pending.key, done.facts, now)
        self._gate.answered(self._policy, done.pending.key.role, done.facts)
        return step.effects + self._answer(done, now)

    def _answer(self, done: Done, now: Nanos) -> list[Effect]:
        """Facts have come; the policy may have changed since the question was let through."""
        key, facts = done.pending.key, done.facts
        policy = self._policy.roles.get(key.role)
        assert facts is not None
        if policy is None or not self._gate.lets_ask(policy, facts.name, facts.qtype):
            return self._refuser.everyone(done.waiters)
        return self._settler.settle(key, facts, policy, done.waiters, now) or []

    def _failed(self, done: Done, now: Nanos) -> list[Effect]:
        ede = done.pending.ede
        self._cache.remember_failure(done.pending.key, ede, now)
        return [self._servfail(w.query, w.client, ede) for w in done.waiters]

    def _closed(self, done: Done, now: Nanos) -> list[Effect]:
        pending = done.pending
        item = Closing(pending.key.role, pending.name, pending.qtype)
        effects = self._keeper.done(item, done, self._policy, self._settler, now)
        if self._offers.renews(pending.key):
            effects += self._renewed(done, now)
        if not self._closer.asking(item):
            return effects
        site = self._settler.site
        closed, shut = self._closer.done(item, done.facts, self._policy, site, now)
        if shut:  # `shared: deny` took an address from an allowed name: no stale hit may tell it
            self._front.clear()
        return effects + closed

    def _renewed(self, done: Done, now: Nanos) -> list[Effect]:
        """What `renew` asked has come, or will not. Whoever missed the old answer meanwhile and
        had it asked for, too, is told at once.
        """
        key, policy = done.pending.key, self._policy.roles.get(done.pending.key.role)
        missed = Step()
        if done.facts is not None and policy is not None and policy.mode is Mode.ENFORCE:
            self._fresh.resume_key(key)
            if (asked := self._lookups.table.find(key)) is not None:
                missed = self._lookups.abandon(asked)
        waiters = missed.done.waiters if missed.done is not None else ()
        told = self._offers.renewed(done, waiters, self._cache, self._policy, self._settler, now)
        return missed.effects + told

    # --- time ---

    def on_deadline(self, now: Nanos) -> list[Effect]:
        """Do what is due. Call it at `next_deadline`, or later."""
        effects: list[Effect] = []
        self._fresh.on_deadline(now)
        for step in self._lookups.on_deadline(now):
            effects += self._finish(step, now)
        effects += close(self._ledger.sweep(now))
        if self._lockdown is Lockdown.OFF:
            effects += self._closer.start(self._policy, now) + self._keeper.start(now)
        return self._first(effects)

    def next_deadline(self) -> Nanos | None:
        """When `on_deadline` is wanted next; None while nothing is under way."""
        times = [
            self._fresh.next_wake(), self._lookups.next_wake(), self._ledger.next_sweep(),
        ]  # fmt: skip
        if self._lockdown is Lockdown.OFF:
            times += [self._closer.next_due(), self._keeper.next_due()]
        return min((when for when in times if when is not None), default=None)

    def late(self, ask: Ask) -> Nanos:
        """When a question that is asked just now wants looking after, if it is not answered."""
        lookups = self._lookups
        patience = TRY_PATIENCE if lookups.upstreams.count <= 1 else lookups.patience
        return Nanos(ask[4] - CLIENT_PATIENCE + patience)

    # --- the host, the operator ---

    def on_open_failed(self, effect: OpenThenReply, now: Nanos) -> list[Effect]:
        """The kernel took the grants of an answer not: undo them; SERVFAIL for those who wait.

        The entries are written again as they were before, because nobody knows which of
        them the kernel has.
        """
        self._front.clear()
        entries = [entry for entry in effect.entries if not entry.grants]
        entries += self._ledger.revert(effect.holders, now)
        ede = (Ede.OTHER, "the kernel refused the grant")
        replies = [Reply(r.client, instead(r.wire, ede)) for r in effect.replies]
        self._counts["failed"] += len(replies)
        told = [notes.not_opened(h.role, h.name, h.rule, h.addr) for h in effect.holders[:1]]
        return self._first([*close(entries), *replies, *told])

    def on_close_failed(self, effect: Close) -> list[Effect]:
        """The kernel took a closing not: fail closed, and open again for whoever asks again."""
        self._front.clear()
        return self._first(close(self._ledger.lost(effect.entries)))

    # --- answers of the kernel ---

    def renew(self, key: CacheKey, until: Nanos, now: Nanos) -> list[Effect] | None:
        """The kernel gives this answer often and until then: ask anew. None: later, perhaps."""
        policy = self._policy.roles.get(key.role)
        if policy is None or self._lockdown is not Lockdown.OFF or policy.mode is Mode.AUDIT:
            return []
        if not self._gate.lets_ask(policy, asked_name(key), asked_type(key)):
            return []
        return self._offers.renew(key, until, now)

    def unpublished(self, key: CacheKey) -> None:
        """The kernel does not have this answer: offer it again."""
        self._offers.again(key)
