"""How much is said in names below one registrable domain, and when it is too much (row 63).

Whoever owns a domain reads every name that is asked for below it. What carries data that way
shows in four signs: many new names, long labels, names that do not exist, types that hold
anything. Each counts for a domain and a role in windows of time. A name that was asked before
is never held up by them, so what is in use goes on; only the rate (row 105) counts those too.
"""

from __future__ import annotations

from dataclasses import field, replace
from enum import Enum
from functools import lru_cache
from itertools import islice
from operator import itemgetter

from dnsfw.engine.limits import Limits
from dnsfw.model import SECOND, Name, Nanos, RoleId
from dnsfw.policy.psl import anybody_registers_below
from dnsfw.policy.questions import NORMAL, Action, Guard
from dnsfw.values import dataclass
from dnsfw.wire.codes import TXT, Rcode
from dnsfw.wire.name import labels, suffix_starts, to_text

__all__ = ["Guards", "Sign", "Spot", "Told", "domain_of", "read_suffixes"]

_ENOUGH = 30  # answers, or new names: below that a share says nothing
_BURST = 2  # seconds' worth of the rate that may come at once
_CANDIDATES = 16  # of which the one that said least gives way
_EVERYDAY = (NORMAL.numbers or frozenset()) - {TXT}  # the types that are not odd
_NAMES_KEPT = 2  # times `names`: who is only logged goes on asking


class Sign(Enum):
    __hash__ = object.__hash__  # Enum's own is written in Python
    NAMES = "new names"
    LABEL = "a long label"
    NXDOMAIN = "names that do not exist"
    TYPES = "types that hold anything"
    RATE = "questions a second"


@dataclass(frozen=True, slots=True)
class Told:
    """What a question shows. `held`: it may not go upstream now. `first`: of this sign, in
    this window.
    """

    sign: Sign
    domain: Name
    guard: Guard
    held: bool
    first: bool

    @property
    def text(self) -> str:
        """`more than 100 new names in 300s below x.com`."""
        guard, below = self.guard, f"below {to_text(self.domain)}"
        match self.sign:
            case Sign.NAMES:
                return f"more than {guard.names} new names in {guard.window}s {below}"
            case Sign.LABEL:
                return f"a label longer than {guard.label} bytes {below}"
            case Sign.NXDOMAIN:
                return f"more than {guard.nxdomain} % of the names {below} do not exist"
            case Sign.TYPES:
                return f"more than {guard.types} % of the new names {below} are asked for TXT"
            case Sign.RATE:
                return f"more than {guard.rate} questions a second {below}"


@dataclass(slots=True)
class _Domain:
    """One registrable domain, as one role asks for names below it."""

    since: Nanos  # when the window began
    tokens: float
    filled: Nanos
    free: Nanos = Nanos(0)
    new: int = 0
    odd: int = 0
    answers: int = 0
    missing: int = 0
    seen: dict[int, Nanos] = field(default_factory=dict)  # hash of a name: asked last
    told: set[Sign] = field(default_factory=set)


Spot = tuple[RoleId, int, Name]  # who asks, under which guard, below which domain
_MOST_GUARDS = 256  # a policy has a few; under audit each question makes one


class Guards:
    """Every guarded domain that was asked lately. One asked long ago, for few names, gives way."""

    def __init__(self, limits: Limits) -> None:
        self.held = 0  # questions that did not go upstream
        self.signs = 0
        self._limits = limits
        self._most = limits.guarded_domains
        self._most_names = limits.guarded_names
        self._domains: dict[Spot, _Domain] = {}
        self._last: tuple[Spot, _Domain] | None = None  # the last of them
        self._numbers: dict[Guard, int] = {}
        self._known: dict[int, tuple[Guard, int]] = {}  # by `id`: to hash one takes long
        self._names = 0

    def __len__(self) -> int:
        return len(self._domains)

    @property
    def names(self) -> int:
        """How many names are remembered, over all domains."""
        return self._names

    def clear(self) -> None:
        self._domains.clear()
        self._last = None
        self._names = 0

    def spot(self, role: RoleId, guard: Guard, name: Name) -> Spot:
        """Where a name is counted."""
        # Names are new, what stands behind their first label seldom is.
        return role, self._number(guard), _domain_of(name[name[0] + 1 :]) or name

    def asks(
        self, role: RoleId, guard: Guard, name: Name, qtype: int, now: Nanos
    ) -> Told | None:
        """A question is about to go upstream. None: there is nothing new to say about it."""
        return self.asks_at(self.spot(role, guard, name), guard, name, qtype, now)

    def asks_at(
        self, spot: Spot, guard: Guard, name: Name, qtype: int, now: Nanos
    ) -> Told | None:
        """The same where the spot is known."""
        here = self._domain(spot, guard, now)
        sign = self._rate(here, guard, now)
        only_told = guard.action is Action.LOG
        held = sign is not None and not only_told
        if not held:
            new = (number := hash(name)) not in here.seen
            if new and (found := _sign(here, guard, name, spot[2], qtype)) is not None:
                sign, held = found, not only_told and _holds(here, guard, now)
            if not held:
                self._count(here, guard, number, qtype, now, new=new)
        if sign is None:
            return None
        self.signs += 1
        self.held += held
        first = sign not in here.told
        if not (held or first):
            return None
        here.told.add(sign)
        return Told(sign, spot[2], guard, held, first)

    def would(
        self, role: RoleId, guard: Guard, name: Name, qtype: int, now: Nanos
    ) -> Told | None:
        """What `asks` would say now; nothing is counted."""
        aside, key = Guards(self._limits), (role, self._number(guard), domain_of(name))
        aside._numbers = self._numbers
        if (here := self._domains.get(key)) is not None:
            aside._domains[key] = replace(here, seen=dict(here.seen), told=set())
        return aside.asks(role, guard, name, qtype, now)

    def answered(self, role: RoleId, guard: Guard, name: Name, rcode: int) -> None:
        """An answer came. Of a domain that was forgotten meanwhile nothing is known."""
        self.answered_at(self.spot(role, guard, name), rcode)

    def answered_at(self, spot: Spot, rcode: int) -> None:
        """The same where the spot is known."""
        here = self._domains.get(spot)
        if here is not None:
            here.answers += 1
            here.missing += rcode == Rcode.NXDOMAIN

    def _number(self, guard: Guard) -> int:
        """Equal ones have the same, over a reload too."""
        known = self._known.get(id(guard))
        if known is None or known[0] is not guard:
            if len(self._known) >= _MOST_GUARDS:
                self._known.clear()
            number = self._numbers.setdefault(guard, len(self._numbers))
            known = self._known[id(guard)] = (guard, number)
        return known[1]

    def _domain(self, key: Spot, guard: Guard, now: Nanos) -> _Domain:
        last = self._last
        if last is not None and last[0] == key and self._names < self._most_names:
            here = last[1]  # it is the latest, and makes nobody go
            if now - here.since >= guard.window * SECOND:
                self._roll(here, now)
            return here
        self._last = (key, here := self._latest(key, guard, now))
        return here

    def _latest(self, key: Spot, guard: Guard, now: Nanos) -> _Domain:
        here = self._domains.pop(key, None)
        while self._domains and (
            len(self._domains) >= self._most or self._names >= self._most_names
        ):
            self._names -= len(self._domains.pop(self._least_telling(guard, now)).seen)
        if here is None:
            here = _Domain(now, float(_BURST * guard.rate), now)
        elif now - here.since >= guard.window * SECOND:
            self._roll(here, now)
        self._domains[key] = here  # the latest last
        return here

    def _least_telling(self, guard: Guard, now: Nanos) -> Spot:
        """Of the domains asked longest ago the one with the fewest new names: who asks for many
        others must not begin anew with one that has had its number.
        """
        begun = now - guard.window * SECOND
        few = [
            (here.new if here.since > begun else 0, key)
            for key, here in islice(self._domains.items(), _CANDIDATES)
        ]
        least, victim = min(few, key=itemgetter(0))
        for new, key in few:
            if new > least:  # the next ones are looked at first
                self._domains[key] = self._domains.pop(key)
        return victim

    def _roll(self, here: _Domain, now: Nanos) -> None:
        """A new window. Names that the last one did not ask for count as new again."""
        before = len(here.seen)
        here.seen = {one: at for one, at in here.seen.items() if at >= here.since}
        self._names += len(here.seen) - before
        here.since = now
        here.new = here.odd = here.answers = here.missing = 0
        here.told.clear()

    def _rate(self, here: _Domain, guard: Guard, now: Nanos) -> Sign | None:
        rate, tokens = guard.rate, here.tokens
        if now > here.filled:
            tokens += (now - here.filled) * rate / SECOND
            if tokens > _BURST * rate:
                tokens = float(_BURST * rate)
        here.filled = now
        if tokens < 1:
            here.tokens = tokens
            return Sign.RATE
        here.tokens = tokens - 1
        return None

    def _count(
        self, here: _Domain, guard: Guard, number: int, qtype: int, now: Nanos, *, new: bool
    ) -> None:
        if new:
            here.new += 1
            here.odd += qtype not in _EVERYDAY
            if len(here.seen) >= _NAMES_KEPT * guard.names:
                return
            self._names += 1
        here.seen[number] = now


def _sign(here: _Domain, guard: Guard, name: Name, domain: Name, qtype: int) -> Sign | None:
    """What a name shows that was not asked before."""
    if len(name) - len(domain) > guard.label:
        below = labels(name)[: -len(labels(domain))]
        if any(len(label) > guard.label for label in below):
            return Sign.LABEL
    if here.new >= guard.names:
        return Sign.NAMES
    if here.answers >= _ENOUGH and here.missing * 100 > here.answers * guard.nxdomain:
        return Sign.NXDOMAIN
    if qtype not in _EVERYDAY and here.new >= _ENOUGH and here.odd * 100 > here.new * guard.types:
        return Sign.TYPES
    return None


def _holds(here: _Domain, guard: Guard, now: Nanos) -> bool:
    """Whether a name that shows a sign is held up; throttled, one in a while passes."""
    match guard.action:
        case Action.REFUSE:
            return True
        case Action.THROTTLE if now < here.free:
            return True
        case Action.THROTTLE:
            here.free = Nanos(now + guard.window * SECOND // guard.names)
    return False


def read_suffixes() -> None:
    """The list of public suffixes takes tens of milliseconds to read. Call it in a thread, so
    that nobody's first question waits for it.
    """
    domain_of(Name(b"\1a\7example\3com\0"))


def domain_of(name: Name) -> Name:
    """The registrable domain that a name lies below: who owns it reads the name. Of names that
    nobody registers (`db.corp`) the last two labels.
    """
    return _domain_of(name[name[0] + 1 :]) or name


@lru_cache(maxsize=4096)
def _domain_of(parent: bytes) -> Name | None:
    """The registrable domain that a parent of names is or lies below; None: anybody registers
    below it.
    """
    starts = list(suffix_starts(Name(parent)))[:-2] if parent else []  # the last label is nobody's
    return next((Name(parent[at:]) for at in reversed(starts) if not _public(parent[at:])), None)


@lru_cache(maxsize=8192)
def _public(suffix: bytes) -> bool:
    return anybody_registers_below(to_text(Name(suffix)))
