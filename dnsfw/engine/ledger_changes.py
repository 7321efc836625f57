"""What another policy, or an earlier process, changes about who holds which address."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial

from dnsfw.engine.effects import Holder
from dnsfw.engine.ledger_views import LedgerViews
from dnsfw.engine.places import NEVER, Chain, Group, Holding, Key, Place, regrouped
from dnsfw.engine.slots import Piece
from dnsfw.model import Addr, Entry, Name, Nanos, RoleId, RuleId

__all__ = ["Judge", "LedgerChanges"]

Judge = Callable[[RoleId, Addr, Name, Chain], Collection[Piece]]


class LedgerChanges(LedgerViews):
    """The part of `Ledger` that judges what is held."""

    def _place(self, key: Key) -> Place | None:
        raise NotImplementedError

    def _settle_in(self, role: RoleId, addr: Addr, place: Place) -> Place:
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

    def _bury(self, role: RoleId, addr: Addr, piece: Piece, name: Name, held: Holding) -> None:
        raise NotImplementedError

    def rejudge(
        self, judge: Judge, keep_tail: Callable[[RoleId, Piece], bool], now: Nanos
    ) -> list[Entry]:
        """Judge every name again: entries that close (or reopen) what has changed.

        Deadlines stay. A folded tail has no names left to judge, so it stays only where
        `keep_tail` knows that nothing below its rule can have been closed.
        """
        entries: list[Entry] = []
        for (role, addr), (number, until, name, _, _) in list(self._lone.items()):
            if until > now and tuple(judge(role, addr, name, ())) != (self._pieces.of(number),):
                self._place((role, addr))  # judged with the others
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
