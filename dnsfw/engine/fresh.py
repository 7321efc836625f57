"""The short way of a question that nobody asked before, from its octets to those of its reply.

Most questions are like that: plain, about a name that a rule without an end allows, by a role
that is enforced, to an upstream that works; and most answers hold addresses of that very name,
ordinary ones, that nobody else holds. Such a question takes no `Pending`, no `Query`, no
`Facts` and no `Ruling`: a tuple waits for its answer, which is read once.

Whatever is not like that goes the long way, from where it stands: `resume` makes of a tuple
what the long way would have made of it. So there is nothing here that the long way does not
say as well, and `tests/prop/test_fresh.py` holds both to the same effects. A tuple holds a
judgement: whoever is about to judge by another policy calls `resume_all` first.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from dnsfw.engine.cache import Cache, CacheKey, Front
from dnsfw.engine.effects import (
    Ask,
    AskId,
    Client,
    Effect,
    Forget,
    Holder,
    OpenThenReply,
    Reply,
    Transport,
)
from dnsfw.engine.facts import whole_facts
from dnsfw.engine.filter import Site
from dnsfw.engine.gate import Gate, types_of
from dnsfw.engine.guard import Spot
from dnsfw.engine.ledger import Ledger
from dnsfw.engine.local import special
from dnsfw.engine.lookups import Lookups
from dnsfw.engine.ordinary import meaning
from dnsfw.engine.pending import Waiter
from dnsfw.engine.ranges import borders, is_isatap
from dnsfw.engine.refuser import Refuser
from dnsfw.engine.settle import Settler
from dnsfw.engine.slots import Piece, opens_alone
from dnsfw.model import SECOND, Addr, Entry, Mode, Name, Nanos, RoleId
from dnsfw.policy.pattern import Pattern
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.policy.questions import Action, Guard
from dnsfw.policy.rule import Judgement, Rule
from dnsfw.wire.codes import ANY, PTR, RD, Rcode
from dnsfw.wire.parts import PAIR
from dnsfw.wire.plain import Addresses, read_addresses
from dnsfw.wire.query import Peek, whole
from dnsfw.wire.reply import write_addresses

__all__ = ["Fresh"]

_MOST_PLANS = 1024  # a policy has few judgements; a list may have one for each entry
_MOST_PREFIXES = 4096  # of a role's address rules; beyond it all of its answers go the long way
_APART = 50_000_000  # a question may be late by so much less than the one before it
_SPECIAL_TYPES = frozenset({ANY, PTR})
_KIND_AT = -PAIR.size  # of a question: its type, then its class
_MAPPED = bytes(10) + b"\xff\xff"
_UDP = Transport.UDP
_new = tuple.__new__  # of a named tuple, without the call in between


class _Plan(NamedTuple):
    """What a judgement comes to, for every name that has it."""

    judgement: Judgement  # kept alive, so that its id stays its own
    usable: bool
    rule: Rule | None = None
    types: frozenset[int] | None = None  # None: all
    guard: Guard | None = None
    exact: bytes = b""  # the name that is a rule's own, which says nothing to anybody
    piece: Piece | None = None  # None: several, so the ledger takes them the long way
    least: int = 0  # seconds that the piece lasts at least, and its grace
    grace: int = 0
    longest: int = 0


class _Role(NamedTuple):
    """A role whose questions may go this way."""

    policy: RolePolicy
    site: Site  # of which the borders speak
    borders: list[bytes] | None  # see `ranges.borders`; None: too many
    plans: dict[int, _Plan]  # by the id of a judgement


class _Question(NamedTuple):
    """One in flight, of one client."""

    key: CacheKey
    client: Client
    asked: Peek
    ask: Ask
    since: Nanos
    late: Nanos
    role: _Role
    plan: _Plan
    name: Name
    kind: int
    spot: Spot | None  # where what is said in names is counted


class Fresh:
    """Questions that went the short way and are not answered yet. `on`: there is no lockdown."""

    def __init__(
        self, lookups: Lookups, cache: Cache, ledger: Ledger, gate: Gate, settler: Settler,
        front: Front, refuser: Refuser,
    ) -> None:  # fmt: skip
        self.on = True
        self._lookups = lookups
        self._cache = cache
        self._ledger = ledger
        self._gate = gate
        self._settler = settler
        self._front = front
        self._refuser = refuser
        self._roles: dict[RoleId, _Role] = {}
        self._policy: Policy | None = None
        self._site: Site | None = None  # that `_roles` are made for
        self._by_ask: dict[AskId, _Question] = {}
        self._by_key: dict[CacheKey, AskId] = {}
        self._last = Nanos(0)  # how late the last of them is

    def __len__(self) -> int:
        return len(self._by_ask)

    def take(self, policy: Policy) -> None:
        """Judge by this policy. `resume_all` was called."""
        self._policy, self._site = policy, None

    # --- a question comes ---

    def asked(
        self, asked: Peek, key: CacheKey, client: Client, now: Nanos
    ) -> list[Effect] | None:
        """What to do with a question of which nothing is ready. None: it goes the long way."""
        role_id, question, do, flags = key
        if do or flags != RD or client[2] is not _UDP or not self.on:
            return None
        if self._site is not self._settler.site:
            self._load(self._settler.site)
        role = self._roles.get(role_id)
        if role is None:
            return None
        name = Name(question[:_KIND_AT])
        judgement = role.policy.judge(name)
        number = question[_KIND_AT] << 8 | question[_KIND_AT + 1]
        if number in _SPECIAL_TYPES or special(name):
            return None
        if not judgement[1]:
            return self._refuser.fresh(asked, client, name, number, judgement)
        plan = role.plans.get(id(judgement)) or self._plan(role, judgement)
        if not plan.usable or (plan.types is not None and number not in plan.types):
            return None
        if (other := self._by_key.get(key)) is not None:
            self.resume(other)  # who asks too joins it there
            return None
        lookups = self._lookups
        if self._cache.knows(key, now) or not lookups.takes(key):
            return None
        late = Nanos(now + lookups.patience)
        # How long an upstream takes is measured anew with each of its answers: about in order.
        if self._by_ask and late + _APART < self._last:
            return None
        said: list[Effect] = []
        guard, spot = plan.guard, None
        if guard is not None and name != plan.exact:
            guards = self._gate.guards
            spot = guards.spot(role_id, guard, name)
            told = guards.asks_at(spot, guard, name, number, now)
            if told is not None:
                may, said = self._gate.told(whole(asked), client, plan.rule, guard, told)
                if not may:
                    return said
        ask = lookups.ask_usual(question, now)
        self._last = late
        lookups.table.room.take(role_id)
        self._by_key[key] = id_ = ask[0]
        self._by_ask[id_] = _new(
            _Question, (key, client, asked, ask, now, late, role, plan, name, number, spot)
        )
        said.append(ask)
        return said

    # --- its answer comes, or does not ---

    def answer(self, ask: AskId, wire: bytes, now: Nanos) -> list[Effect] | None:
        """What an answer leads to; None: it goes the long way."""
        question = self._by_ask.get(ask)
        if question is None:
            return None
        key, client, asked, effect, since, _, role, plan, name, kind, spot = question
        found = read_addresses(wire, effect[3])
        if found is None or (addrs := self._ordinary(found, role)) is None:
            self.resume(ask)
            return None
        lookups, role_id, (body, _, _, ttl, most, ad) = self._lookups, key[0], found
        del self._by_ask[ask], self._by_key[key]
        lookups.table.room.give(role_id)
        lookups.upstreams.worked(effect[1], since, now)
        ad = ad and effect[1] in lookups.trusted
        plain = (name, kind, body, ttl, now, ad)
        self._cache.put_plain(key, plain, now)
        if spot is not None:
            self._gate.guards.answered_at(spot, Rcode.NOERROR)
        gone = _new(Forget, (ask,))
        piece, least, entries = plan.piece, plan.least, list[Entry]()
        told = ttl if ttl <= plan.longest else plan.longest
        until = Nanos(now + ((told if told > least else least) + plan.grace) * SECOND)
        if piece is None or not self._ledger.hold_alone(
            role_id, name, addrs, piece, until, entries
        ):
            waiters = (Waiter(client, whole(asked), effect.deadline),)
            facts = whole_facts(plain)
            settled = self._settler.settle(CacheKey(*key), facts, role.policy, waiters, now)
            return [gone, *(settled or ())]
        if most > told:
            body = _shortened(found, told)
            plain = (name, kind, body, told, now, ad)
        self._front.put(key, plain)
        rule = piece.rule
        holders = tuple([_new(Holder, (role_id, addr, name, rule, until, ())) for addr in addrs])
        reply = _new(Reply, (client, write_addresses(asked, body, len(addrs), ad=ad)))
        return [gone, _new(OpenThenReply, (tuple(entries), holders, (reply,), ()))]

    def _ordinary(self, found: Addresses, role: _Role) -> list[Addr] | None:
        """The addresses, if there is nothing to be said about any of them."""
        marks, site = role.borders, role.site
        if marks is None or site is not self._settler.site:
            return None  # what this host's addresses are has just changed
        if len(found.found) > site.most:
            return None
        addrs = []
        for address in found.found:
            if len(address) == len(_MAPPED) + 4:
                addr = Addr(address)
                if addr.startswith(_MAPPED) or is_isatap(addr):
                    return None
            else:
                addr = Addr(_MAPPED + address)
            if bisect_right(marks, addr) & 1:
                return None
            addrs.append(addr)
        return addrs

    def resume(self, ask: AskId) -> None:
        """Let it go on the long way, from where it stands."""
        question = self._by_ask.get(ask)
        if question is not None:
            key, client, asked, effect, since, late, *_ = question
            del self._by_ask[ask], self._by_key[key]
            self._lookups.table.room.give(key[0])
            self._lookups.resume(CacheKey(*key), client, whole(asked), effect, since, late)

    def resume_key(self, key: CacheKey) -> None:
        """The same for a question that somebody else asks too."""
        if (ask := self._by_key.get(key)) is not None:
            self.resume(ask)

    def resume_all(self) -> None:
        """The same for all of them."""
        for ask in list(self._by_ask):
            self.resume(ask)

    # --- time ---

    def on_deadline(self, now: Nanos) -> None:
        """Whoever is late goes the long way."""
        while (wake := self.next_wake()) is not None and wake <= now:
            self.resume(next(iter(self._by_ask)))

    def next_wake(self) -> Nanos | None:
        """When the first of them is late; about, where they were asked in a hurry."""
        for question in self._by_ask.values():
            return question[5]
        return None

    # --- the policy ---

    def _load(self, site: Site) -> None:
        """Make ready for this policy and these addresses of the host."""
        self._site, self._roles = site, {}
        for number, role in self._policy.roles.items() if self._policy else ():
            if role.mode is Mode.AUDIT:
                continue
            prefixes = role.addresses.entries
            few = len(prefixes) <= _MOST_PREFIXES
            at = ((entry.addr, entry.bits) for entry in prefixes)
            marks = borders(at, site.own, site.nat64) if few else None
            self._roles[number] = _Role(role, site, marks, {})

    def _plan(self, role: _Role, judgement: Judgement) -> _Plan:
        if len(role.plans) >= _MOST_PLANS:
            role.plans.clear()
        made = role.plans[id(judgement)] = _plan(role.policy, judgement)
        return made


def _plan(policy: RolePolicy, judgement: Judgement) -> _Plan:
    means = meaning(judgement, policy)
    if means is None:
        return _Plan(judgement, usable=False)
    rule = judgement.rule
    types = types_of(policy, judgement).numbers
    what = None if rule is None else rule.what
    exact = what.suffix if isinstance(what, Pattern) else b""
    guard: Guard | None = (rule and rule.guard) or policy.questions.guard
    if guard is not None and guard.action is Action.OFF:
        guard = None
    piece, least, grace = None, 0, 0
    if len(means.claims) == 1 and opens_alone(means.claims[0][0]):
        piece, time = means.claims[0]
        least, grace = time.min, time.grace
    return _Plan(
        judgement, True, rule, types, guard, exact, piece, least, grace, means.longest
    )


def _shortened(found: Addresses, ttl: int) -> bytes:
    """The records, none of them with more than this TTL."""
    pack, rows = found.rows.pack, found.rows.iter_unpack(found.body)
    return b"".join([pack(head, min(old, ttl), size, addr) for head, old, size, addr in rows])
