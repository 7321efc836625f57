"""The book of the answers that the kernel gives: which they are, who uses them, when they end.

The kernel's tables are bounded by size class, so the least used give way; a reload takes all
of them back with one store. Ahead of an answer's end the kernel is asked whether anybody used it
in the last second: if so its question goes upstream again, and a name in use is never missed;
if not, it is left to its end. So a door is open no longer than a second past what the last who
asked could have had by asking then. The engine decides what may be told; here is only when and
where.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from itertools import islice
from random import Random

from dnsfw.datapath.abi import DnsLimit
from dnsfw.datapath.answers import Answer, AnswerKey, AnswerTable, Published, Size, size_of
from dnsfw.engine.cache import CacheKey
from dnsfw.engine.effects import Effect, Publish
from dnsfw.engine.offers import asked_name
from dnsfw.errors import DatapathError
from dnsfw.model import SECOND, Name, Nanos
from dnsfw.values import dataclass
from dnsfw.wire.message import CD, RD

__all__ = ["Book"]

ROOM: Mapping[Size, int] = {
    Size.SMALL: int(DnsLimit.MAX_ANSWERS),
    Size.BIG: int(DnsLimit.MAX_ANSWERS_BIG),
    Size.LONG: int(DnsLimit.MAX_ANSWERS_LONG),
}
_SHARE = 10  # of an answer's life is the last part, in which it is renewed
_LEAD = SECOND  # the least of that
_AGAIN = SECOND // 4  # between two looks at one answer
_FRESH = SECOND  # who asked earlier than this before a renewal does not make an answer wanted
_UNSEEN = -1  # hits of an answer that has not been looked at
_REFUSAL_LOOK = 60 * SECOND  # a refusal has no end: it goes when nobody asked for so long
_RENEWALS = 500  # a second, at most
_LOOKS = 256  # at one time: clients come first
_SWEEP = 500  # answers of a withdrawn epoch that are deleted at one time: a millisecond
_SWEEP_EVERY = SECOND // 50
_CANDIDATES = 8  # of which the least used gives way
_IN = b"\0\1"

Renew = Callable[[CacheKey, Nanos, Nanos], list[Effect] | None]


@dataclass(slots=True)
class _Line:
    """One answer in the book."""

    size: Size
    until: Nanos
    look: Nanos
    refusal: bool
    seen: int = _UNSEEN  # hits, at the last look


class Book:
    """Everything that is published, bounded as the tables are."""

    def __init__(
        self,
        table: AnswerTable,
        renew: Renew,
        lost: Callable[[CacheKey], None],
        rng: Random | None = None,
        room: Mapping[Size, int] = ROOM,
    ) -> None:
        """`renew` and `lost` are the engine's. Without `rng` nothing is spread in time."""
        self.table = table
        self.published = self.renewed = self.evicted = self.unfit = self.failed = 0
        # How often the kernel refused a name by itself, when its line goes; who counts sets it.
        self.repeated: Callable[[Name, int], None] | None = None
        self._renew = renew
        self._lost = lost
        self._rng = rng
        self._room = room
        self._lines: dict[AnswerKey, _Line] = {}
        self._by_use: dict[Size, OrderedDict[AnswerKey, None]] = {s: OrderedDict() for s in Size}
        # Taken back, and still there: whole tables of keys, so that it costs no look at each.
        self._stale: dict[Size, list[OrderedDict[AnswerKey, None]]] = {s: [] for s in Size}
        self._looks: list[tuple[Nanos, int, AnswerKey]] = []
        self._order = 0
        self._slot = Nanos(0)  # no renewal before
        self._sweep_at = Nanos(0)

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def sizes(self) -> dict[Size, int]:
        """How many answers of each class there are."""
        return {size: len(keys) for size, keys in self._by_use.items()}

    @property
    def stale(self) -> int:
        """How many were taken back and still lie in the tables."""
        return sum(map(self._stale_of, Size))

    def _stale_of(self, size: Size) -> int:
        return sum(map(len, self._stale[size])) if self._stale[size] else 0

    def held(self, key: AnswerKey) -> Published | None:
        """What the kernel gives to this question now."""
        if (line := self._lines.get(key)) is None or (hits := self.table.hits(key)) is None:
            return None
        return Published(key, line.size, hits, line.until, line.refusal, True)

    # --- the engine says ---

    def publish(self, item: Publish, now: Nanos) -> None:
        """Have the kernel answer it. What fails is no loss: the question comes to us."""
        key, answer = _answer_key(item.key), _answer(item)
        if now >= item.until or not item.key.flags & RD:
            return
        if (size := size_of(key, answer)) is None:
            self.unfit += 1
            self._drop(key)
            return
        self._forget(key)
        for tables in self._stale.values():
            for stale in tables:
                stale.pop(key, None)
        self._make_room(size)
        try:
            there = self.table.publish(key, answer)
        except DatapathError:
            there = False
        if not there:
            self.failed += 1
            return
        self.published += 1
        self._write_down(key, _Line(size, item.until, Nanos(0), answer.refusal), item.born, now)

    def withdraw(self) -> None:
        """One store, before anything else happens; the room comes back little by little."""
        self.table.withdraw()
        for size, keys in self._by_use.items():
            if keys:
                self._stale[size].append(keys)
        self._by_use = {size: OrderedDict() for size in Size}
        self._lines, self._looks = {}, []

    def adopt(self, now: Nanos) -> None:
        """Take over what an earlier process published and the kernel still gives."""
        gone: dict[Size, OrderedDict[AnswerKey, None]] = {size: OrderedDict() for size in Size}
        for found in list(self.table.entries()):
            if found.live and now < found.until:
                line = _Line(found.size, found.until, Nanos(0), found.refusal)
                self._write_down(found.key, line, now, now)
            else:
                gone[found.size][found.key] = None
        for size, keys in gone.items():
            if keys:
                self._stale[size].append(keys)

    def tell_repeated(self) -> None:
        """At the end: of all that is there still."""
        for key, line in self._lines.items():
            self._tell(key, line)

    # --- time ---

    def next_due(self) -> Nanos | None:
        """When `on_deadline` is wanted next."""
        first = self._looks[0][0] if self._looks else None
        if self.stale:
            return self._sweep_at if first is None else min(first, self._sweep_at)
        return first

    def on_deadline(self, now: Nanos) -> list[Effect]:
        """Look at what ends soon; delete what has ended."""
        if now >= self._sweep_at and self.stale:
            self._sweep_at = Nanos(now + _SWEEP_EVERY)
            for size in Size:
                self._sweep(size, _SWEEP)
        effects: list[Effect] = []
        for _ in range(_LOOKS):
            if not self._looks or self._looks[0][0] > now:
                break
            look, _, key = heappop(self._looks)
            line = self._lines.get(key)
            if line is not None and line.look == look:  # else it was published anew since
                effects += self._look(key, line, now)
        return effects

    def _look(self, key: AnswerKey, line: _Line, now: Nanos) -> list[Effect]:
        if now >= line.until:
            self._drop(key)
            return []
        before = line.seen
        used = self._used(key, line)
        if line.refusal:
            self._look_at_refusal(key, line, used, now)
            return []
        if before == _UNSEEN:  # from here on it counts
            lead = max(_AGAIN, min(_FRESH, (line.until - now) // 2))
            self._watch(key, line, Nanos(now + lead))
            return []
        effects: list[Effect] | None = []
        if used and now < self._slot:
            effects, when = None, self._slot
        else:
            if used:
                self._slot = Nanos(max(self._slot, now - _AGAIN) + SECOND // _RENEWALS)
                effects = self._renew(_cache_key(key), line.until, now)
                self.renewed += bool(effects)
            # Once more before the end: that may fail, or the first client is yet to come.
            when = Nanos(now + max((line.until - now) // 2, _AGAIN))
        if effects is None:  # later: and nobody else need have used it by then
            line.seen = before
        self._watch(key, line, when)
        return effects or []

    def _look_at_refusal(self, key: AnswerKey, line: _Line, used: bool, now: Nanos) -> None:
        if used:
            self._watch(key, line, Nanos(now + self._spread(_REFUSAL_LOOK)))
        else:
            self._drop(key)
            self._lost(_cache_key(key))

    # --- the tables ---

    def _write_down(self, key: AnswerKey, line: _Line, born: Nanos, now: Nanos) -> None:
        self._lines[key] = line
        self._by_use[line.size][key] = None
        if line.refusal:
            look = now + self._spread(_REFUSAL_LOOK)
        else:
            lead = self._spread(max((line.until - born) // _SHARE, _LEAD))
            look = max(now + _AGAIN, line.until - lead - _FRESH)
        self._watch(key, line, Nanos(look))

    def _spread(self, nanos: int) -> int:
        """Up to a quarter more: not everything at once."""
        return nanos if self._rng is None else int(nanos * (1 + self._rng.random() / 4))

    def _watch(self, key: AnswerKey, line: _Line, when: Nanos) -> None:
        line.look = min(when, line.until)
        self._order += 1
        heappush(self._looks, (line.look, self._order, key))
        if len(self._looks) > 2 * len(self._lines) + 64:
            lines = enumerate(self._lines.items())
            self._looks = [(line.look, at, key) for at, (key, line) in lines]
            self._order = len(self._looks)
            heapify(self._looks)

    def _used(self, key: AnswerKey, line: _Line) -> bool:
        """Whether anybody was given it since the last look."""
        hits = self.table.hits(key) or 0
        before, line.seen = max(line.seen, 0), hits
        if hits == before:
            return False
        self._by_use[line.size].move_to_end(key)
        return True

    def _make_room(self, size: Size) -> None:
        while len(self._by_use[size]) + self._stale_of(size) >= self._room[size]:
            if self._stale_of(size):
                self._sweep(size, _SWEEP)
            else:
                self._evict(size)

    def _evict(self, size: Size) -> None:
        """Of the few that were not used for longest, the one with the fewest hits goes."""
        few = list(islice(self._by_use[size], _CANDIDATES))
        news = {key: (self.table.hits(key) or 0) - max(self._lines[key].seen, 0) for key in few}
        victim = min(few, key=news.__getitem__)
        for key in few:
            if news[key] and key != victim:  # it was used: the next ones are looked at first
                self._by_use[size].move_to_end(key)
        self.evicted += 1
        self._drop(victim)
        self._lost(_cache_key(victim))

    def _sweep(self, size: Size, most: int) -> None:
        tables = self._stale[size]
        while most and tables:
            if tables[-1]:
                self.table.delete(tables[-1].popitem()[0])
                most -= 1
            else:
                tables.pop()

    def _drop(self, key: AnswerKey) -> None:
        self._forget(key)
        self.table.delete(key)

    def _forget(self, key: AnswerKey) -> None:
        if (line := self._lines.pop(key, None)) is not None:
            del self._by_use[line.size][key]
            self._tell(key, line)

    def _tell(self, key: AnswerKey, line: _Line) -> None:
        if self.repeated is not None and line.refusal and (hits := self.table.hits(key)):
            self.repeated(key.name, hits)


def _answer(item: Publish) -> Answer:
    parts = item.template.parts
    refusal = item.note is not None
    return Answer(
        parts.flags, parts.bare_flags, parts.ad, parts.answers, parts.authority, parts.body,
        parts.ttl_at if item.born else (),  # what has no birth does not age
        parts.opt, item.born, item.until, refusal,
    )  # fmt: skip


def _answer_key(key: CacheKey) -> AnswerKey:
    qtype = int.from_bytes(key.key[-4:-2], "big")
    return AnswerKey(key.role, asked_name(key), qtype, key.do, bool(key.flags & CD))


def _cache_key(key: AnswerKey) -> CacheKey:
    question = key.name + key.qtype.to_bytes(2, "big") + _IN
    return CacheKey(key.role, question, key.do, RD | (CD if key.cd else 0))
