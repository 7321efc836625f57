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
from collections import deque
from typing import NamedTuple, cast

from dnsfw.engine.cache import KEY_FLAGS, Cache, CacheKey, Front
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
_SPECIAL_TYPES = frozenset(kind.to_bytes(2, "big") for kind in (ANY, PTR))
_MAPPED = bytes(10) + b"\xff\xff"
_UDP = Transport.UDP
_new = tuple.__new__  # of a named tuple, without the call in between


class _Plan(NamedTuple):
    """What a judgement comes to, for every name that has it."""

    judgement: Judgement  # kept alive, so that its id stays its own
    usable: bool
    rule: Rule | None = None
    types: frozenset[bytes] | None = None  # None: all
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
        self._late: deque[tuple[Nanos, AskId]] = deque()  # in order; some are answered

    def __len__(self) -> int:
        return len(self._by_ask)

    def take(self, policy: Policy) -> None:
        """Judge by this policy. `resume_all` was called."""
        self._policy, self._site = policy, None

    # --- a question comes ---

    def asked(self, asked: Peek, client: Client, now: Nanos) -> list[Effect] | None:
        """What to do with a question of which nothing is ready. None: it goes the long way."""
        _, flags, question, _, _, do, _ = asked
        if do or flags & KEY_FLAGS != RD or client[2] is not _UDP or not self.on:
            return None
        if self._site is not self._settler.site:
            self._load(self._settler.site)
        role = self._roles.get(client[1])
        if role is None:
            return None
        name = Name(question[: -PAIR.size])
        judgement = role.policy.judge(name)
        kind = question[-PAIR.size : -2]
        if special(name) or kind in _SPECIAL_TYPES:
            return None
        if not judgement[1]:
            number = int.from_bytes(kind, "big")
            return self._refuser.fresh(asked, client, name, number, judgement)
        plan = role.plans.get(id(judgement)) or self._plan(role, judgement)
        if not plan.usable or (plan.types is not None and kind not in plan.types):
            return None
        # Not `CacheKey` itself, which the garbage collector would look at as long as it is kept.
        key = cast(CacheKey, (client[1], question, False, RD))
        late = Nanos(now + self._lookups.patience)
        if not self._is_new(key, now) or not self._in_order(late):
            return None
        said: list[Effect] = []
        if plan.guard is not None and name != plan.exact:
            number = int.from_bytes(kind, "big")
            told = self._gate.guards.asks(client[1], plan.guard, name, number, now)
            if told is not None:
                query = whole(asked)
                may, said = self._gate.told(query, client, plan.rule, plan.guard, told)
                if not may:
                    return said
        ask = self._lookups.ask_usual(question, now)
        self._late.append((max(late, self._late[-1][0]) if self._late else late, ask.ask))
        self._lookups.table.room.take(client[1])
        self._by_ask[ask.ask] = _new(
            _Question, (key, client, asked, ask, now, late, role, plan)
        )
        self._by_key[key] = ask.ask
        said.append(ask)
        return said

    def _is_new(self, key: CacheKey, now: Nanos) -> bool:
        """Whether nobody knows of it, or waits for it, and it may be asked as usual."""
        if (ask := self._by_key.get(key)) is not None:
            self.resume(ask)  # who asks too joins it there
            return False
        lookups = self._lookups
        return (
            not self._cache.knows(key, now)
            and lookups.table.find(key) is None
            and lookups.usual
            and lookups.table.room.left(key[0])
        )

    def _in_order(self, late: Nanos) -> bool:
        """Whether it is late about when it would be behind the others: how long an upstream
        takes is measured anew with each of its answers.
        """
        return not self._late or late + _APART >= self._late[-1][0]

    # --- its answer comes, or does not ---

    def answer(self, ask: AskId, wire: bytes, now: Nanos) -> list[Effect] | None:
        """What an answer leads to; None: it goes the long way."""
        question = self._by_ask.get(ask)
        if question is None:
            return None
        key, client, asked, effect, since, _, role, plan = question
        found = read_addresses(wire, effect.wire)
        if found is None or (addrs := self._ordinary(found, role)) is None:
            self.resume(ask)
            return None
        self._forget(ask, question)
        lookups = self._lookups
        lookups.upstreams.worked(effect.upstream, since, now)
        name, ad = Name(key[1][: -PAIR.size]), found.ad and effect.upstream in lookups.trusted
        kind = int.from_bytes(key[1][-PAIR.size : -2], "big")
        self._cache.put_plain(key, (name, kind, found.body, found.ttl, now, ad), now)
        if plan.guard is not None and name != plan.exact:
            self._gate.guards.answered(key[0], plan.guard, name, Rcode.NOERROR)
        gone = _new(Forget, (ask,))
        piece, entries = plan.piece, list[Entry]()
        ttl = min(found.ttl, plan.longest)
        until = Nanos(now + (max(ttl, plan.least) + plan.grace) * SECOND)
        if piece is None or not self._ledger.hold_alone(
            key[0], name, addrs, piece, until, entries
        ):
            waiters = (Waiter(client, whole(asked), effect.deadline),)
            facts = whole_facts((name, kind, found.body, found.ttl, now, ad))
            settled = self._settler.settle(CacheKey(*key), facts, role.policy, waiters, now)
            return [gone, *(settled or ())]
        body = found.body if found.most <= ttl else _shortened(found, ttl)
        self._front.put(key, (name, kind, body, ttl, now, ad))
        rule, role_id = piece.rule, key[0]
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
            key, client, asked, effect, since, late, _, _ = question
            self._forget(ask, question)
            self._lookups.resume(CacheKey(*key), client, whole(asked), effect, since, late)

    def resume_key(self, key: CacheKey) -> None:
        """The same for a question that somebody else asks too."""
        if (ask := self._by_key.get(key)) is not None:
            self.resume(ask)

    def resume_all(self) -> None:
        """The same for all of them."""
        for ask in list(self._by_ask):
            self.resume(ask)
        self._late.clear()

    def _forget(self, ask: AskId, question: _Question) -> None:
        del self._by_ask[ask], self._by_key[question[0]]
        self._lookups.table.room.give(question[0][0])

    # --- time ---

    def on_deadline(self, now: Nanos) -> None:
        """Whoever is late goes the long way."""
        while (wake := self.next_wake()) is not None and wake <= now:
            self.resume(self._late.popleft()[1])

    def next_wake(self) -> Nanos | None:
        while self._late and self._late[0][1] not in self._by_ask:
            self._late.popleft()
        return self._late[0][0] if self._late else None

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
    numbers = types_of(policy, judgement).numbers
    types = None if numbers is None else frozenset(n.to_bytes(2, "big") for n in numbers)
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
