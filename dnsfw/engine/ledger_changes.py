"""What another policy, or an earlier process, changes about who holds which address."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from dnsfw.engine.effects import Holder
from dnsfw.engine.fair import Room
from dnsfw.engine.ledger_views import LedgerViews
from dnsfw.engine.places import (
    NEVER,
    Chain,
    Group,
    Holding,
    Key,
    Lone,
    Place,
    grant_of,
    regrouped,
)
from dnsfw.engine.rule_room import RuleRoom
from dnsfw.engine.slots import Piece, opens_alone
from dnsfw.model import Addr, Entry, Name, Nanos, RoleId, RuleId, Verdict

__all__ = ["Judge", "LedgerChanges"]

Judge = Callable[[RoleId, Addr, Name, Chain], Collection[Piece]]
KeepTail = Callable[[RoleId, Piece], bool]


class LedgerChanges(LedgerViews):
    """The part of `Ledger` that judges what is held.

    After a change of policy that may be all there is: some at a time, and whatever an answer
    is about to use before that. So nobody ever adds to what the old policy said.
    """

    room: Room
    rule_room: RuleRoom
    _unjudged: dict[Key, object]  # what was there when the policy changed, and was not looked at
    _unwritten: dict[Key, None]  # judged in between, for an answer: the kernel has to be told
    _anew: tuple[Judge, KeepTail] | None  # how, while there is anything

    def _place(self, key: Key) -> Place | None:
        raise NotImplementedError

    def _settle_in(self, role: RoleId, addr: Addr, place: Place) -> Place:
        raise NotImplementedError

    def _knows(self, key: Key) -> bool:
        raise NotImplementedError

    def _enter(
        self, key: Key, name: Name, piece: Piece, number: int, until: Nanos, entries: list[Entry]
    ) -> None:
        raise NotImplementedError

    def _add(
        self, place: Place, role: RoleId, addr: Addr, piece: Piece, name: Name, until: Nanos,
        chain: Chain,
    ) -> None:  # fmt: skip
        raise NotImplementedError

    def _settle(
        self, place: Place, role: RoleId, addr: Addr, now: Nanos, entries: list[Entry]
    ) -> None:
        raise NotImplementedError

    def rejudge(self, judge: Judge, keep_tail: KeepTail, now: Nanos) -> list[Entry]:
        """Judge every name again: entries that close (or reopen) what has changed.

        Deadlines stay. A folded tail has no names left to judge, so it stays only where
        `keep_tail` knows that nothing below its rule can have been closed.
        """
        self.begin_judging(judge, keep_tail)
        return self.judge_some(len(self._unjudged), now)

    def begin_judging(self, judge: Judge, keep_tail: KeepTail) -> None:
        """`rejudge`, some at a time: `judge_some` until nothing is `unjudged`."""
        self._anew = judge, keep_tail
        self._unjudged = {**self._lone}  # of a dict without holes, a copy of memory
        self._unjudged.update(self._places)

    @property
    def unjudged(self) -> bool:
        """Whether anything may still stand as another policy judged it."""
        return bool(self._unjudged or self._unwritten)

    def judge_some(self, most: int, now: Nanos) -> list[Entry]:
        """Judge so many places; what to write."""
        entries = [Entry(role, addr, self.written(role, addr)) for role, addr in self._unwritten]
        self._unwritten.clear()
        left = self._unjudged
        for _ in range(min(most, len(left))):
            self._judge_anew(left.popitem()[0], now, entries)
        if not left:
            self._anew = None  # it knows a policy, and what it said to each name
        return entries

    def judge_these(self, keys: Iterable[Key], now: Nanos) -> None:
        """The same for what somebody is about to hold. It is written with the others: who came
        for it may be left out, and say nothing.
        """
        for key in keys:
            if self._unjudged.pop(key, None) is not None:
                entries: list[Entry] = []
                self._judge_anew(key, now, entries)
                self._unwritten.update({(entry.role, entry.addr): None for entry in entries})

    def _judge_anew(self, key: Key, now: Nanos, entries: list[Entry]) -> None:
        assert self._anew is not None
        (role, addr), (judge, keep_tail) = key, self._anew
        lone = self._lone.get(key)
        if lone is not None and self._judge_lone(key, lone, judge, now, entries):
            return
        place = self._place(key)
        if place is None or self._judge_only(place, role, addr, judge, now, entries):
            return
        judged = {
            name: (held, judge(role, addr, name, next(iter(held.values())).chain))
            for name, held in place.holdings(now).items()
        }
        tails = [p for p, g in place.groups.items() if g.tail > now]
        kept = [piece for piece in tails if keep_tail(role, piece)]
        same = all(held.keys() == set(pieces) for held, pieces in judged.values())
        if same and kept == tails:
            return
        self._regroup(place, role, addr, regrouped(place, kept, judged))
        self._settle(place, role, addr, now, entries)

    def _judge_lone(
        self, key: Key, lone: Lone, judge: Judge, now: Nanos, entries: list[Entry]
    ) -> bool:
        """Nearly every place. False: it is more than that now."""
        (role, addr), (number, until, name, before, check) = key, lone
        if until <= now:
            return True
        pieces = tuple(judge(role, addr, name, ()))
        if not pieces:
            self._let_go(key, lone, entries)
            return True
        after = self._pieces.number(pieces[0])
        if len(pieces) > 1 or not opens_alone(pieces[0]):
            return False
        if after != number:
            self.rule_room.leave(role, self._pieces.of(number).rule)
            self.rule_room.enter(role, pieces[0].rule)
            self._lone[key] = later = (after, until, name, before, check)
            entries.append(Entry(role, addr, (grant_of(later, self._pieces),)))
        return True

    def _judge_only(
        self, place: Place, role: RoleId, addr: Addr, judge: Judge, now: Nanos,
        entries: list[Entry],
    ) -> bool:  # fmt: skip
        """The same for a place that has room for more, and nobody in it."""
        if (only := place.only(now)) is None:
            return False
        piece, name, held = only
        if held.until <= now:
            return True
        pieces = tuple(judge(role, addr, name, held.chain))
        if len(pieces) > 1:
            return False
        if pieces == (piece,):
            return True
        if pieces:
            groups = {one: Group(held.until, NEVER, {name: held}) for one in pieces}
            self._regroup(place, role, addr, groups)
            self._settle(place, role, addr, now, entries)
            return True
        place.groups = {}
        self._bury(role, addr, piece, name, held)
        self._index.unlink(role, name, addr)
        self.rule_room.recount(role, place)
        del self._places[role, addr]
        self.room.give(role)
        entries.append(Entry(role, addr))
        return True

    def _let_go(self, key: Key, lone: Lone, entries: list[Entry]) -> None:
        """Nobody holds it any more."""
        role, addr = key
        del self._lone[key]
        self._ghosts.add(key, lone[2], ())
        self._index.unlink(role, lone[2], addr)
        self.rule_room.leave(role, self._pieces.of(lone[0]).rule)
        self.room.give(role)
        entries.append(Entry(role, addr))

    def _bury(self, role: RoleId, addr: Addr, piece: Piece, name: Name, held: Holding) -> None:
        """Remember who held an address: flows that it let begin may outlive it."""
        if piece.verdict is Verdict.ALLOW:
            self._ghosts.add((role, addr), name, held.chain)

    def _regroup(self, place: Place, role: RoleId, addr: Addr, groups: dict[Piece, Group]) -> None:
        old, place.groups = place.groups, groups
        for piece, group in old.items():
            for name, holding in group.names.items():
                if not place.has(name):
                    self._bury(role, addr, piece, name, holding)
                    self._index.unlink(role, name, addr)

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
            if self._adopt_alone(entry, by_key.get((role, addr), ()), judge, now):
                continue
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

    def _adopt_alone(
        self, entry: Entry, holders: Collection[Holder], judge: Judge, now: Nanos
    ) -> bool:
        """Nearly every one: what one name opened by one rule, as it would open it again. False,
        and nothing has happened, where there is more to it.
        """
        role, addr, grants = entry
        if len(grants) != 1 or len(holders) != 1:
            return False
        (until, rule, ports, verdict), ((_, _, name, _, held, chain),) = grants[0], holders
        if chain or not now < until <= held or not self._index.room.left(role):
            return False
        pieces = judge(role, addr, name, ())
        if len(pieces) != 1:
            return False
        (piece,) = pieces
        if (piece.rule, piece.ports, piece.verdict) != (rule, ports, verdict):
            return False
        if not opens_alone(piece) or self._knows((role, addr)):
            return False
        self.room.take(role)
        self.rule_room.enter(role, rule)
        self._enter((role, addr), name, piece, self._pieces.number(piece), until, [])
        return True
