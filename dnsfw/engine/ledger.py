"""The ledger: which names hold which addresses, and so what the kernel's table must say.

Names put pieces on a place (role, address): ports that a rule opens or closes until a
deadline. The kernel gets at most four slots a place, so equal pieces merge and the latest
deadline wins. A deadline moves earlier only by policy; what does not fit is left out, and
nothing that lives makes room for it (promises 1, 2, 9).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

from dnsfw.engine.effects import Holder
from dnsfw.engine.fair import Room
from dnsfw.engine.ledger_changes import Judge, LedgerChanges
from dnsfw.engine.limits import Limits
from dnsfw.engine.places import (
    NEVER,
    Chain,
    Claim,
    Ghosts,
    Group,
    Key,
    Left,
    Lone,
    NameIndex,
    Outcome,
    Place,
    grant_of,
    report_sharing,
    whole,
    write,
)
from dnsfw.engine.rule_room import RuleRoom, caps_of
from dnsfw.engine.slots import Piece, Pieces, barred, opens_alone, slots_for
from dnsfw.engine.wheel import Wheel
from dnsfw.model import Addr, Entry, Grant, Name, Nanos, RoleId, Verdict
from dnsfw.policy.policy import Policy

__all__ = ["Judge", "Ledger"]

_new = tuple.__new__  # of a named tuple, without the call in between
_SWEEP = 1024  # places one sweep looks at: a mass expiry must not hold up the answers


class Ledger(LedgerChanges):
    """The truth about every entry of the kernel's grants table."""

    def __init__(self, limits: Limits) -> None:
        self.room = Room(limits.grants)
        self.rule_room = RuleRoom(limits.addresses_per_rule)
        self._limits = limits
        self._places: dict[Key, Place] = {}
        self._pieces = Pieces()
        self._lone: dict[Key, Lone] = {}  # those that need no more; none is in both
        self._index = NameIndex(limits.names)
        self._due: list[tuple[Nanos, RoleId, Addr]] = []
        self._ends: Wheel[Key] = Wheel()  # of the lone ones, which the kernel ends on its own
        self._ghosts = Ghosts(limits.ghosts)
        self._unjudged = {}
        self._unwritten = {}

    def __len__(self) -> int:
        return len(self._places) + len(self._lone)

    @property
    def names_held(self) -> int:
        """How many (name, address) pairs are remembered one by one."""
        return self._index.room.taken

    def take_policy(self, policy: Policy) -> None:
        """While there are several roles, each leaves the others room; and rules have caps."""
        self.room.shared = self._index.room.shared = len(policy.roles) > 1
        self.rule_room.take_caps(caps_of(policy))

    def _place(self, key: Key) -> Place | None:
        """What is held there, in the form that has room for more."""
        place = self._places.get(key)
        if place is None and (lone := self._lone.pop(key, None)) is not None:
            place = self._places[key] = whole(lone, self._pieces)
            heappush(self._due, (place.check, *key))
        return place

    def _knows(self, key: Key) -> bool:
        return key in self._lone or key in self._places

    # --- names come ---

    def hold_alone(
        self,
        role: RoleId,
        name: Name,
        addrs: Sequence[Addr],
        piece: Piece,
        until: Nanos,
        entries: list[Entry],
    ) -> bool:
        """Put a name on addresses that nobody else holds, by one piece that `opens_alone`. False,
        and nothing has happened, where there is more to it, or no room. No address comes twice.
        """
        if self._unjudged and any((role, addr) in self._unjudged for addr in addrs):
            return False
        lone, places, number, new = self._lone, self._places, self._pieces.number(piece), 0
        found: list[tuple[Key, Lone | None]] = []
        for addr in addrs:
            key = (role, addr)
            held = lone.get(key)
            if held is None:
                if key in places:
                    return False
                new += 1
            elif held[2] != name or held[0] != number:
                return False
            found.append((key, held))
        if new and not self._take_room(role, name, piece, new):
            return False
        for key, held in found:
            if held is None:
                self._enter(key, name, piece, number, until, entries)
                continue
            before = held[1]
            lone[key] = later = (number, max(until, before), name, before, held[4])
            if until > before:
                entries.append(Entry(role, key[1], (grant_of(later, self._pieces),)))
        return True

    def _take_room(self, role: RoleId, name: Name, piece: Piece, new: int) -> bool:
        """Take it for so many addresses more, where they are no question of room."""
        room, index = self.room, self._index
        others, least = index.room, self._limits.addresses_per_name - new
        if (
            (room.taken + new > room.plenty and not room.left(role, new))
            or (others.taken + new > others.plenty and not others.left(role, new))
            or len(index.addresses(role, name)) > least
            or not self.rule_room.take(role, piece.rule, new)
        ):
            return False
        room.take(role, new)
        return True

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
        out, addrs = Outcome(), dict.fromkeys(addrs)
        if self._unjudged:
            self.judge_these(((role, addr) for addr in addrs), now)
        for addr in addrs:
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
        if not self.room.left(role) and not self._knows((role, addr)):
            out.entries += self.sweep(now)  # the expired go first, and so do their deletions
            if not self.room.left(role):
                return Left.FULL
        if not self._name_has_room(role, name, addr, now):
            return Left.NAME
        place = self._place((role, addr))
        if self._over_cap(role, place, claims, now, out):
            return Left.RULE
        place = self._place((role, addr))
        if place is None and not chain and self._hold_first(role, name, addr, claims, out):
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
        self, role: RoleId, name: Name, addr: Addr, claims: Sequence[Claim], out: Outcome
    ) -> bool:
        """The first name on an address, by one rule that opens something: nothing to compare
        with. False where there is more to it.
        """
        (piece, until), *more = claims
        if more or not opens_alone(piece) or not self._index.room.left(role):
            return False
        self.room.take(role)
        self.rule_room.enter(role, piece.rule)
        self._enter((role, addr), name, piece, self._pieces.number(piece), until, out.entries)
        return True

    def _enter(
        self, key: Key, name: Name, piece: Piece, number: int, until: Nanos, entries: list[Entry]
    ) -> None:
        """Room was taken for it."""
        role, addr = key
        self._lone[key] = (number, until, name, NEVER, until)
        self._index.link(role, name, addr)
        grant = _new(Grant, (until, piece.rule, piece.ports, piece.verdict))
        entries.append(_new(Entry, (role, addr, (grant,))))
        self._ends.put(key, until)

    def _over_cap(
        self, role: RoleId, place: Place | None, claims: Sequence[Claim], now: Nanos, out: Outcome
    ) -> bool:
        """Whether a rule may hold no address more. Its expired ones go first."""
        held = place.opened_by if place else frozenset()
        for piece, _ in claims:
            if piece.verdict is Verdict.DENY or piece.rule in held:
                continue
            while self.rule_room.full(role, piece.rule):
                if (due := self.next_sweep()) is None or due > now:
                    return True
                out.entries += self.sweep(now)
        return False

    def _settle_in(self, role: RoleId, addr: Addr, place: Place) -> Place:
        if not self._knows((role, addr)):
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
        slot_of = self._ends.slot
        for slot, key in self._ends.take(now, _SWEEP):
            lone = self._lone.get(key)
            if lone is not None and slot_of(lone[4]) == slot:
                self._look(key, lone, now, entries)
        for _ in range(_SWEEP):
            if not self._due or self._due[0][0] > now:
                break
            check, role, addr = heappop(self._due)
            place = self._places.get((role, addr))
            if place is not None and place.check == check:
                place.check = NEVER
                self._settle(place, role, addr, now, entries)
        return entries

    def _look(self, key: Key, lone: Lone, now: Nanos, entries: list[Entry]) -> None:
        """Let go of it if it has ended; else look again when it does."""
        number, until, name, before, _ = lone
        if until > now:
            self._lone[key] = (number, until, name, before, until)
            self._ends.again(key, until)
            return
        self._let_go(key, lone, entries)

    def next_sweep(self) -> Nanos | None:
        first, end = self._due[0][0] if self._due else None, self._ends.next()
        return first if end is None or (first is not None and first < end) else end

    def revert(self, holders: Iterable[Holder], now: Nanos) -> list[Entry]:
        """Undo a write that failed: every deadline is again what it was before it."""
        touched: dict[Key, None] = {}
        for holder in holders:
            place = self._place((holder.role, holder.addr))
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
            place = self._place((entry.role, entry.addr))
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
        if self._ends.size > 2 * len(self._lone) + 64:
            self._ends.only((lone[4], key) for key, lone in self._lone.items())

    def _prune(self, role: RoleId, addr: Addr, now: Nanos) -> None:
        """Forget names whose own time is over though others keep the place alive."""
        place = self._place((role, addr))
        if place is None:
            return
        for group in place.groups.values():
            for name in [n for n, held in group.names.items() if held.until <= now]:
                del group.names[name]
                self._unlink(place, role, addr, name)

    def _unlink(self, place: Place, role: RoleId, addr: Addr, name: Name) -> None:
        if not place.has(name):
            self._index.unlink(role, name, addr)
