"""What is remembered of answers: facts by TTL, failures by back-off, rendered replies.

Facts are what an upstream said, before any policy; they are judged on every use. The
front holds rendered replies of the policy as it is now: whoever changes the policy, or
takes a grant away, empties it, so a hit there is a judgement that still holds.

Nothing is shared between roles: what one has heard, another asks for itself, so neither
the answer nor its speed tells what others ask (row 68). The limits are of all roles
together, and who has the most makes room: junk pushes out nobody else's answers (row 106).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container
from typing import Any, Generic, NamedTuple, TypeVar

from dnsfw.engine.effects import Note
from dnsfw.engine.facts import Facts, Plain, plain_cost, whole_facts
from dnsfw.engine.failures import Failures
from dnsfw.engine.kept import Kept
from dnsfw.engine.limits import Limits
from dnsfw.engine.replies import Replies
from dnsfw.model import SECOND, Nanos, RoleId
from dnsfw.wire.message import CD, RD, Asked, Ede, Query
from dnsfw.wire.plain import ROWS
from dnsfw.wire.reply import Template

_SLACK = 64  # a TTL may be told by this part shorter than it is: 4 s of 5 minutes
_TTL_AT = 6  # in a record behind a pointer, type and class
_LARGEST_SHARE = 16  # one answer may fill this part of a cache; bigger ones are not kept


KEY_FLAGS = RD | CD  # the header bits that can change an answer


def seconds_since(born: Nanos, now: Nanos) -> int:
    """Age rounded up, so that a TTL is rounded down (promise 2)."""
    return -((born - now) // SECOND)


class CacheKey(NamedTuple):
    """A question as far as its answer can differ; per role, so that none can probe another."""

    role: RoleId
    key: bytes  # canonical name, type, class
    do: bool
    flags: int  # RD and CD, as they stand in the header

    @classmethod
    def of(cls, role: RoleId, query: Query) -> CacheKey:
        return cls(role, query.key, query.do, query.flags & KEY_FLAGS)


Value = TypeVar("Value")


class _Store(Generic[Value]):
    """A bounded table with one part a role; the largest part gives way."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.largest = size // _LARGEST_SHARE
        self.parts: dict[RoleId, Kept[CacheKey, Value]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    @property
    def used(self) -> int:
        return sum(part.cost for part in self.parts.values())

    def get(self, key: CacheKey, now: Nanos) -> Value | None:
        part = self.parts.get(key[0])
        return None if part is None else part.get(key, now)

    def pop(self, key: CacheKey) -> None:
        if (part := self.parts.get(key[0])) is not None:
            part.pop(key)

    def put(self, key: CacheKey, value: Value, until: Nanos, cost: int, now: Nanos) -> None:
        part = self.parts.get(key[0])
        if part is None:
            part = self.parts[key[0]] = Kept(self.size)
        part.put(key, value, until, cost, now)
        if len(self.parts) > 1 and self.used > self.size:
            self._make_room(now)

    def keep(self, roles: Container[RoleId]) -> None:
        """Forget what roles knew that are no more."""
        self.parts = {role: part for role, part in self.parts.items() if role in roles}

    def _make_room(self, now: Nanos) -> None:
        for part in self.parts.values():
            part.expire(now)
        while self.used > self.size:
            max(self.parts.values(), key=lambda part: part.cost).drop()


class Cache:
    """Positive facts, negative facts and failures, each bounded by itself."""

    def __init__(self, limits: Limits) -> None:
        self._positive: _Store[Facts | Plain] = _Store(limits.answer_bytes)
        self._negative: _Store[Facts] = _Store(limits.negative_bytes)
        self._failures = Failures(limits.failures)
        self._answers: tuple[_Store[Any], ...] = (self._positive, self._negative)

    def get(self, key: CacheKey, now: Nanos) -> Facts | None:
        found = self._positive.get(key, now)
        if found is None:
            return self._negative.get(key, now)
        return found if isinstance(found, Facts) else whole_facts(found)

    def knows(self, key: CacheKey, now: Nanos) -> bool:
        """Whether there is something about this question, a failure too."""
        role = key[0]
        for store in self._answers:
            part = store.parts.get(role)
            if part is not None and part.has(key) and part.get(key, now) is not None:
                return True
        return role in self._failures.parts and self._failures.find(key, now) is not None

    def put_plain(self, key: CacheKey, plain: Plain, now: Nanos) -> None:
        """As `put`."""
        role, store = key[0], self._positive
        if role in self._failures.parts:
            self._failures.forget(key)
        if role in self._negative.parts:
            self._negative.pop(key)
        until = Nanos(plain[4] + plain[3] * SECOND)
        if (cost := plain_cost(plain)) <= store.largest:
            store.put(key, plain, until, cost, now)
        else:
            store.pop(key)

    def put(self, key: CacheKey, facts: Facts, now: Nanos) -> None:
        self._failures.forget(key)
        negative = facts.negative
        (self._positive if negative else self._negative).pop(key)
        store: _Store[Any] = self._negative if negative else self._positive
        if (cost := facts.cost) <= store.largest:
            store.put(key, facts, facts.expires, cost, now)
        else:
            store.pop(key)

    def failure(self, key: CacheKey, now: Nanos) -> Ede | None:
        """How the question failed, so recently that nobody is asked again (RFC 9520)."""
        return self._failures.find(key, now)

    def remember_failure(self, key: CacheKey, ede: Ede, now: Nanos) -> None:
        self._failures.remember(key, ede, now)

    def keep(self, roles: Container[RoleId]) -> None:
        """Forget what was told to roles that are no more."""
        for store in (self._positive, self._negative, self._failures):
            store.keep(roles)

    def sizes(self) -> dict[str, int]:
        return {
            "cache_answers": len(self._positive),
            "cache_answer_bytes": self._positive.used,
            "cache_negative": len(self._negative),
            "cache_negative_bytes": self._negative.used,
            "cache_failures": len(self._failures),
        }


class Ready(NamedTuple):
    """A reply that waits for its question to come again."""

    template: Template
    born: Nanos
    until: Nanos
    notes: tuple[Note, ...] = ()
    offer: bool = False  # the kernel may give it too, and was not told so yet


def ready_of(plain: Plain) -> Ready:
    """A reply of records that all have the TTL they are told with."""
    _, qtype, body, ttl, born, ad = plain
    size = ROWS[qtype].size
    ttls = tuple([(at, ttl) for at in range(_TTL_AT, len(body), size)])
    template = Template.of_addresses(body, len(ttls), ttls, ad=ad)
    return Ready(template, born, Nanos(born + ttl * SECOND), (), True)


class Front:
    """A plain dict with a limit: the oldest of the role with the most goes first. `find` is
    the dict's own, for speed.
    """

    __slots__ = ("_limit", "_order", "cleared", "find", "items", "replies")

    def __init__(self, limit: int) -> None:
        self.items: dict[tuple[RoleId, bytes, bool, int], Ready | Plain] = {}
        self._order: dict[RoleId, OrderedDict[CacheKey, None]] = {}
        self._limit = limit
        self.replies = Replies(limit)  # what was made of these, and goes with them
        self.cleared = False  # since somebody set it to False: the kernel's copies must go too
        self.find = self.items.get  # `ripe` makes a `Ready` of what is found

    def __len__(self) -> int:
        return len(self.items)

    def offered(self, key: CacheKey, *, again: bool = False) -> None:
        """The kernel was told of this one; `again`: it has forgotten it."""
        if (ready := self.get(key)) is not None:
            self.items[key] = ready._replace(offer=again)

    def get(self, key: tuple[RoleId, bytes, bool, int]) -> Ready | None:
        found = self.items.get(key)
        return None if found is None else self.ripe(key, found)

    def ripe(self, key: tuple[RoleId, bytes, bool, int], found: Ready | Plain) -> Ready:
        """What was found, ready to be told again: most answers never are."""
        if isinstance(found, Ready):
            return found
        made = self.items[key] = ready_of(found)
        return made

    def put(self, key: CacheKey, value: Ready | Plain) -> None:
        items, mine = self.items, self._order.get(key[0])
        if mine is None:
            mine = self._order[key[0]] = OrderedDict()
        if key in items:
            mine.move_to_end(key)
        else:
            if len(items) >= self._limit:
                most = mine if len(self._order) == 1 else max(self._order.values(), key=len)
                oldest, _ = most.popitem(last=False)
                del items[oldest]
            mine[key] = None
        items[key] = value

    def repeat(self, wire: bytes, asked: Asked, role: RoleId, ready: Ready, now: Nanos) -> None:
        """Have copies of this query answered without reading them. Told a little shorter than
        true, the TTLs stay true for longer than a second (promise 2).
        """
        age = seconds_since(ready.born, now) + (ready.until - now) // (_SLACK * SECOND)
        until = min(ready.until, Nanos(ready.born + age * SECOND + 1))
        self.replies.put(role, wire, ready.template.render(asked, age), until)

    def clear(self) -> None:
        self.cleared = True
        self.replies.clear()
        self.items.clear()
        self._order.clear()
