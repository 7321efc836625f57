"""What is remembered of answers: facts by TTL, failures by back-off, rendered replies.

Facts are what an upstream said, before any policy; they are judged on every use. The
front holds rendered replies of the policy as it is now: whoever changes the policy, or
takes a grant away, empties it, so a hit there is a judgement that still holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cachetools import TLRUCache

from dnsfw.engine.effects import Note
from dnsfw.engine.facts import Facts
from dnsfw.engine.limits import FAILURE_MIN, QUESTION_FAILURE_MAX, Limits
from dnsfw.model import Nanos, RoleId
from dnsfw.wire.message import CD, RD, Ede, Query
from dnsfw.wire.reply import Template

_LARGEST_SHARE = 16  # one answer may fill this part of a cache; bigger ones are not kept


KEY_FLAGS = RD | CD  # the header bits that can change an answer


class CacheKey(NamedTuple):
    """A question as far as its answer can differ; per role, so that none can probe another."""

    role: RoleId
    key: bytes  # canonical name, type, class
    do: bool
    flags: int  # RD and CD, as they stand in the header

    @classmethod
    def of(cls, role: RoleId, query: Query) -> CacheKey:
        return cls(role, query.key, query.do, query.flags & KEY_FLAGS)


@dataclass(frozen=True, slots=True)
class _Failure:
    until: Nanos
    step: int
    ede: Ede


class Cache:
    """Positive facts, negative facts and failures, each bounded by itself."""

    def __init__(self, limits: Limits) -> None:
        self._now = Nanos(0)
        self._positive = self._facts(limits.answer_bytes)
        self._negative = self._facts(limits.negative_bytes)
        self._failures: TLRUCache[CacheKey, _Failure] = TLRUCache(
            limits.failures, lambda _key, failure, _now: failure.until + failure.step, self._clock
        )

    def _facts(self, size: int) -> TLRUCache[CacheKey, Facts]:
        return TLRUCache(
            size, lambda _key, facts, _now: facts.expires, self._clock, lambda facts: facts.cost
        )

    def _clock(self) -> int:
        return self._now

    def get(self, key: CacheKey, now: Nanos) -> Facts | None:
        self._now = now
        return self._positive.get(key) or self._negative.get(key)

    def put(self, key: CacheKey, facts: Facts, now: Nanos) -> None:
        self._now = now
        self._failures.pop(key, None)
        self._positive.pop(key, None)
        self._negative.pop(key, None)
        cache = self._negative if facts.negative else self._positive
        if now < facts.expires and facts.cost <= cache.maxsize // _LARGEST_SHARE:
            cache[key] = facts

    def failure(self, key: CacheKey, now: Nanos) -> Ede | None:
        """How the question failed, so recently that nobody is asked again (RFC 9520)."""
        self._now = now
        failure = self._failures.get(key)
        return failure.ede if failure is not None and now < failure.until else None

    def remember_failure(self, key: CacheKey, ede: Ede, now: Nanos) -> None:
        """Each failure in a row is remembered twice as long as the one before it."""
        self._now = now
        last = self._failures.get(key)
        if last is not None and now < last.until:
            return  # the same failure, told to one more client
        step = min(2 * last.step, QUESTION_FAILURE_MAX) if last else FAILURE_MIN
        self._failures[key] = _Failure(Nanos(now + step), step, ede)

    def sizes(self) -> dict[str, int]:
        return {
            "cache_answers": len(self._positive),
            "cache_answer_bytes": int(self._positive.currsize),
            "cache_negative": len(self._negative),
            "cache_negative_bytes": int(self._negative.currsize),
            "cache_failures": len(self._failures),
        }


class Ready(NamedTuple):
    """A reply that waits for its question to come again."""

    template: Template
    born: Nanos
    until: Nanos
    notes: tuple[Note, ...] = ()


class Front:
    """A plain dict with a limit: the oldest goes first. `get` is the dict's own, for speed."""

    __slots__ = ("_items", "_limit", "get")

    def __init__(self, limit: int) -> None:
        self._items: dict[tuple[RoleId, bytes, bool, int], Ready] = {}
        self._limit = limit
        self.get = self._items.get

    def __len__(self) -> int:
        return len(self._items)

    def put(self, key: CacheKey, value: Ready) -> None:
        self._items.pop(key, None)
        if len(self._items) >= self._limit:
            del self._items[next(iter(self._items))]
        self._items[key] = value

    def clear(self) -> None:
        self._items.clear()
