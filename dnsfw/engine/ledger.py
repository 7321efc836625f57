"""The ledger: which names hold which addresses, and so what the kernel's table must say.

Names put pieces on a place (role, address): ports that a rule opens or closes until a
deadline. The kernel gets at most four slots a place, so equal pieces merge and the latest
deadline wins. A deadline moves earlier only by policy; what does not fit is left out, and
nothing that lives makes room for it (promises 1, 2, 9).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from heapq import heapify, heappop, heappush

from dnsfw.engine.effects import Holder
from dnsfw.engine.fair import Room
from dnsfw.engine.ledger_views import LedgerViews
from dnsfw.engine.limits import Limits
from dnsfw.engine.places import (
    NEVER,
    Chain,
    Claim,
    Ghosts,
    Group,
    Holding,
    Key,
    Left,
    NameIndex,
    Outcome,
    Place,
    regrouped,
    report_sharing,
    write,
)
from dnsfw.engine.rule_room import RuleRoom, caps_of
from dnsfw.engine.slots import Piece, barred, slots_for
from dnsfw.model import DEFAULT_RULE, Addr, Entry, Grant, Name, Nanos, RoleId, RuleId, Verdict
from dnsfw.policy.policy import Policy

Judge = Callable[[RoleId, Addr, Name, Chain], Collection[Piece]]

_SWEEP = 1024  # places one sweep looks at: a mass expiry must not hold up the answers


class Ledger(LedgerViews):
    """The truth about every entry of the kernel's grants table."""

    def __init__(self, limits: Limits) -> None:
        self.room = Room(limits.grants)
        self.rule_room = RuleRoom(limits.addresses_per_rule)
        self._limits = limits
        self._places: dict[Key, Place] = {}
        self._index = NameIndex(limits.names)
        self._due: list[tuple[Nanos, RoleId, Addr]] = []
        self._ghosts = Ghosts(limits.ghosts)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def names_held(self) -> int:
        """How many (name, address) pairs are remembered one by one."""
        return self._index.room.taken

    def take_policy(self, policy: Policy) -> None:
        """While there are several roles, each leaves the others room; and rules have caps."""
        self.room.shared = self._index.room.shared = len(policy.roles) > 1
        self.rule_room.take_caps(caps_of(policy))

    # --- names come ---

    def hold(
        self,
        role: RoleId,
        name: Name,
        addrs: Iterable[Addr],
        claims: Sequence[Claim],
        now: Nanos,
        chain: Chain = (),
    ) -> Outcome:
        """Put a name on addresses. One that does not fit is in `left`, and unchanged."""
        out = Outcome()
        for addr in dict.fromkeys(addrs):
            why = self._hold_one(role, name, addr, claims, now, chain, out)
            if why is not None:
                out.left[addr] = why
                continue
            out.held.append(addr)
            for piece, until in claims:
                out.holders.append(Holder(role, addr, name, piece.rule, until, chain))
        return out

    def _hold_one(
        self,
        role: RoleId,
        name: Name,
        addr: Addr,
        claims: Sequence[Claim],
        now: Nanos,
        chain: Chain,
        out: Outcome,
    ) -> Left | None:
        place = self._places.get((role, addr))
        if place is None and not self.room.left(role):
            out.entries += self.sweep(now)  # the expired go first, and so do their deletions
            if not self.room.left(role):
                return Left.FULL
        if not self._name_has_room(role, name, addr, now):
            return Left.NAME
        if self._over_cap(role, place, claims, now, out):
            return Left.RULE
        place = self._places.get((role, addr))
        if place is None and self._hold_first(role, name, addr, claims, chain, out):
            return None
        before = place.pieces(now) if place else {}
        after = dict(before)
        for piece, until in claims:
            after[piece] = max(until, after.get(piece, until))
        grants = slots_for(after)
        if len(grants) > self._limits.slots:
            return Left.SLOTS
        opens = [piece for piece, _ in claims if piece.verdict is Verdict.ALLOW]
        if opens and all(barred(piece, after) for piece in opens):
            return Left.CLOSED

        if place is None:
            place = self._settle_in(role, addr, Place())
        elif len(after) > 1:
            report_sharing(place, name, addr, claims, before, out)
        for piece, until in claims:
            self._add(place, role, addr, piece, name, until, chain)
        self.rule_room.recount(role, place)
        write(place, role, addr, grants, out.entries)
        self._watch(place, role, addr)
        return None

    def _hold_first(
        self,
        role: RoleId,
        name: Name,
        addr: Addr,
        claims: Sequence[Claim],
        chain: Chain,
        out: Outcome,
    ) -> bool:
        """The first name on an address, by one rule that opens something: nothing to compare
        with. False where there is more to it.
        """
        (piece, until), *more = claims
        if more or piece.verdict is Verdict.DENY or piece.rule == DEFAULT_RULE or not piece.ports:
            return False
        if not self._index.room.left(role):
            return False
        place = Place({piece: Group(until, NEVER, {name: Holding(until, chain)})})
        self._settle_in(role, addr, place)
        self._index.link(role, name, addr)
        self.rule_room.enter(role, place, piece.rule)
        place.written = (Grant(until, piece.rule, piece.ports, piece.verdict),)
        out.entries.append(Entry(role, addr, place.written))
        place.check = until
        heappush(self._due, (until, role, addr))
        return True

    def _over_cap(
        self, role: RoleId, place: Place | None, claims: Sequence[Claim], now: Nanos, out: Outcome
    ) -> bool:
        """Whether a rule may hold no address more. Its expired ones go first."""
        held = place.opened_by if place else frozenset()
        for piece, _ in claims:
            if piece.verdict is Verdict.DENY or piece.rule in held:
                continue
            while self.rule_room.full(role, piece.rule):
                if not self._due or self._due[0][0] > now:
                    return True
                out.entries += self.sweep(now)
        return False

    def _settle_in(self, role: RoleId, addr: Addr, place: Place) -> Place:
        if (role, addr) not in self._places:
            self.room.take(role)
        self._places[role, addr] = place
        return place

    def _name_has_room(self, role: RoleId, name: Name, addr: Addr, now: Nanos) -> bool:
        limit = self._limits.addresses_per_name
        addrs = self._index.addresses(role, name)
        if len(addrs) < limit or addr in addrs:
            return True
        for old in list(addrs):
            self._prune(role, old, now)
        return len(self._index.addresses(role, name)) < limit

    def _add(
        self,
        place: Place,
        role: RoleId,
        addr: Addr,
        piece: Piece,
        name: Name,
        until: Nanos,
        chain: Chain,
    ) -> None:
        group = place.groups.setdefault(piece, Group())
        if group.renew(name, until, chain):
            return
        if not self._index.room.left(role):
            group.fold(until)
            return
        if len(group.names) >= self._limits.names_per_grant:
            oldest = next(iter(group.names))
            group.fold(group.names.pop(oldest).until)
            self._unlink(place, role, addr, oldest)
        group.add(name, until, chain)
        self._index.link(role, name, addr)

    # --- names go ---

    def sweep(self, now: Nanos) -> list[Entry]:
        """Forget what has ended: entries to rewrite or delete. Call again while `next_sweep`
        is in the past: it looks at a bounded number.
        """
        entries: list[Entry] = []
        for _ in range(_SWEEP):
            if not self._due or self._due[0][0] > now:
                break
            check, role, addr = heappop(self._due)
            place = self._places.get((role, addr))
            if place is not None and place.check == check:
                place.check = NEVER
                self._settle(place, role, addr, now, entries)
        return entries

    def next_sweep(self) -> Nanos | None:
        return self._due[0][0] if self._due else None

    def revert(self, holders: Iterable[Holder], now: Nanos) -> list[Entry]:
        """Undo a write that failed: every deadline is again what it was before it."""
        touched: dict[Key, None] = {}
        for holder in holders:
            place = self._places.get((holder.role, holder.addr))
            if place is None:
                continue
            touched[holder.role, holder.addr] = None
            for piece, group in place.groups.items():
                held = group.names.get(holder.name)
                if held is None or piece.rule != holder.rule:
                    continue
                held.until = held.before
                if held.until <= now:  # it never held anything, so it is no last name either
                    del group.names[holder.name]
                group.recount()
            self._unlink(place, holder.role, holder.addr, holder.name)
        entries: list[Entry] = []
        for role, addr in touched:
            place = self._places[role, addr]
            place.written = None
            self._settle(place, role, addr, now, entries)
        return entries

    def lost(self, entries: Sequence[Entry]) -> list[Entry]:
        """A closing could not be written: delete instead, which never lacks room. Whoever
        asks again is opened again. Nothing for entries that were deletions already.
        """
        if not any(entry.grants for entry in entries):
            return []
        for entry in entries:
            place = self._places.get((entry.role, entry.addr))
            if place is not None:
                place.written = ()
        return [Entry(entry.role, entry.addr) for entry in entries]

    def _settle(
        self, place: Place, role: RoleId, addr: Addr, now: Nanos, entries: list[Entry]
    ) -> None:
        """Drop the groups that ended and tell the kernel what is left."""
        for piece in [p for p, group in place.groups.items() if group.until <= now]:
            group = place.groups.pop(piece)
            for name, held in group.names.items():
                self._bury(role, addr, piece, name, held)
                self._unlink(place, role, addr, name)
        self.rule_room.recount(role, place)
        write(place, role, addr, slots_for(place.pieces(now))[: self._limits.slots], entries)
        if place.groups:
            self._watch(place, role, addr)
        else:
            del self._places[role, addr]
            self.room.give(role)

    def _watch(self, place: Place, role: RoleId, addr: Addr) -> None:
        """Have the sweep look when the first group ends, or earlier if that is under way."""
        first = min(group.until for group in place.groups.values())
        if NEVER < place.check <= first:
            return
        place.check = first
        heappush(self._due, (first, role, addr))
        if len(self._due) > 2 * len(self._places) + 64:
            self._due = [(place.check, *key) for key, place in self._places.items()]
            heapify(self._due)

    def _prune(self, role: RoleId, addr: Addr, now: Nanos) -> None:
        """Forget names whose own time is over though others keep the place alive."""
        place = self._places.get((role, addr))
        if place is None:
            return
        for group in place.groups.values():
            for name in [n for n, held in group.names.items() if held.until <= now]:
                del group.names[name]
                self._unlink(place, role, addr, name)

    def _unlink(self, place: Place, role: RoleId, addr: Addr, name: Name) -> None:
        if not place.has(name):
            self._index.unlink(role, name, addr)

    # --- the policy changes ---

    def rejudge(
        self, judge: Judge, keep_tail: Callable[[RoleId, Piece], bool], now: Nanos
    ) -> list[Entry]:
        """Judge every name again: entries that close (or reopen) what has changed.

        Deadlines stay. A folded tail has no names left to judge, so it stays only where
        `keep_tail` knows that nothing below its rule can have been closed.
        """
        entries: list[Entry] = []
        for (role, addr), place in list(self._places.items()):
            if place.stays(partial(judge, role, addr), now):
                continue
            judged = {
                name: (held, judge(role, addr, name, next(iter(held.values())).chain))
                for name, held in place.holdings(now).items()
            }
            tails = [p for p, g in place.groups.items() if g.tail > now]
            kept = [piece for piece in tails if keep_tail(role, piece)]
            same = all(held.keys() == set(pieces) for held, pieces in judged.values())
            if same and kept == tails:
                continue  # most places, at most reloads
            self._regroup(place, role, addr, regrouped(place, kept, judged))
            self._settle(place, role, addr, now, entries)
        return entries

    def _regroup(self, place: Place, role: RoleId, addr: Addr, groups: dict[Piece, Group]) -> None:
        old, place.groups = place.groups, groups
        for piece, group in old.items():
            for name, holding in group.names.items():
                if not place.has(name):
                    self._bury(role, addr, piece, name, holding)
                    self._index.unlink(role, name, addr)

    def _bury(self, role: RoleId, addr: Addr, piece: Piece, name: Name, held: Holding) -> None:
        """Remember who held an address: flows that it let begin may outlive it."""
        if piece.verdict is Verdict.ALLOW:
            self._ghosts.add((role, addr), name, held.chain)

    def adopt(
        self,
        entries: Iterable[Entry],
        holders: Iterable[Holder],
        judge: Judge,
        keep_tail: Callable[[RoleId, Piece], bool],
        now: Nanos,
    ) -> list[Entry]:
        """Take over what the kernel's table holds after a restart; returns what to rewrite.

        The table says what is open, the journal who holds it. A slot that no name explains
        stays as a tail where `keep_tail` allows, else it is closed.
        """
        by_key: dict[Key, list[Holder]] = {}
        for holder in holders:
            if holder.until > now:
                by_key.setdefault((holder.role, holder.addr), []).append(holder)
        changed: list[Entry] = []
        for entry in entries:
            role, addr = entry.role, entry.addr
            place = self._settle_in(role, addr, Place(written=entry.grants))
            last = max((grant.until for grant in entry.grants), default=NEVER)
            known: dict[RuleId, Nanos] = {}  # explained, also where the name is refused now
            for holder in by_key.get((role, addr), ()):
                known[holder.rule] = max(holder.until, known.get(holder.rule, NEVER))
                until = min(holder.until, last)  # journalled, but was it written?
                for piece in judge(role, addr, holder.name, holder.chain) if until > now else ():
                    self._add(place, role, addr, piece, holder.name, until, holder.chain)
            told = {(p.ports, p.verdict): g.until for p, g in place.groups.items()}
            for grant in entry.grants:
                piece = Piece(grant.rule, grant.ports, grant.verdict)
                named = told.get((grant.ports, grant.verdict), NEVER)
                unexplained = max(named, known.get(grant.rule, NEVER)) < grant.until
                if grant.until > now and unexplained and keep_tail(role, piece):
                    place.groups.setdefault(piece, Group()).fold(grant.until)
            self._settle(place, role, addr, now, changed)
        return changed

    # --- people and flows ask ---

    def in_use(self, keys: Iterable[Key]) -> None:
        """Keep the names of these addresses, though their grants may end: flows go on."""
        self._ghosts.in_use = frozenset(keys)
