"""What people ask of the engine: it changes nothing."""

from __future__ import annotations

from itertools import islice

from dnsfw.engine.cache import KEY_FLAGS, Cache, CacheKey, Front, Ready
from dnsfw.engine.closer import Closer
from dnsfw.engine.fresh import Fresh
from dnsfw.engine.gate import Gate
from dnsfw.engine.guard import Guards
from dnsfw.engine.keeper import Keeper
from dnsfw.engine.ledger import Ledger
from dnsfw.engine.lookups import Lookups
from dnsfw.engine.offers import Offers
from dnsfw.engine.places import GrantRow
from dnsfw.engine.refuser import Refuser
from dnsfw.engine.replies import Replies
from dnsfw.engine.settle import Settler
from dnsfw.engine.upstreams import UpstreamState
from dnsfw.model import Addr, Grant, Name, Nanos, RoleId
from dnsfw.policy.policy import Policy
from dnsfw.wire.message import peek

__all__ = ["Views"]

_NAMES_TOLD = 4  # enough for one line of an event


class Views:
    """The half of `Engine` that only looks."""

    _policy: Policy
    _asked: dict[RoleId, int]
    _cache: Cache
    _closer: Closer
    _counts: dict[str, int]
    _fresh: Fresh
    _front: Front
    _gate: Gate
    _keeper: Keeper
    _ledger: Ledger
    _lookups: Lookups
    _offers: Offers
    _refuser: Refuser
    _settler: Settler

    @property
    def replies(self) -> Replies:
        """Ready replies, for whoever hears the queries."""
        return self._front.replies

    @property
    def guards(self) -> Guards:
        """What was said in names so far, for `explain`."""
        return self._gate.guards

    def copy(self, wire: bytes, role: RoleId, now: Nanos) -> tuple[CacheKey, Ready] | None:
        """What somebody else may answer this plain query with too, until a Withdraw."""
        if (asked := peek(wire)) is None:
            return None
        key = CacheKey(role, asked.key, asked.do, asked.flags & KEY_FLAGS)
        ready = self._front.get(key)
        return None if ready is None or ready.notes or now >= ready.until else (key, ready)

    def grants(self, now: Nanos) -> list[GrantRow]:
        """Every live grant with the names behind it."""
        return list(self._ledger.rows(now))

    def asked(self, role: RoleId) -> int:
        """How many queries came from a role since it is there."""
        return self._asked[role] + self._front.replies.hits[role] if role in self._asked else 0

    def held(self, role: RoleId) -> int:
        """How many addresses a role has grants on."""
        return self._ledger.room.of(role)

    def granted(self, role: RoleId, addr: Addr) -> tuple[Grant, ...]:
        """What names have opened, and closed, for a role on an address."""
        return self._ledger.written(role, addr)

    def addresses(self, role: RoleId, name: Name) -> tuple[Addr, ...]:
        """What a name holds now."""
        return self._ledger.addresses(role, name)

    @property
    def judges_by(self) -> tuple[Policy, frozenset[Addr]]:
        """The policy, and the host's own addresses."""
        return self._policy, self._settler.site.own

    def last_names(self, role: RoleId, addr: Addr) -> tuple[Name, ...]:
        """Who holds an address, or held it last: the latest first."""
        return tuple(name for name, _ in islice(self._ledger.names(role, addr), _NAMES_TOLD))

    def upstreams(self, now: Nanos) -> list[UpstreamState]:
        """How each of them does."""
        return self._lookups.upstreams.states(now)

    def stats(self) -> dict[str, int]:
        """Counters and sizes, under stable names."""
        again = self._front.replies.hits.total()
        return {
            **self._counts,
            "queries": self._counts["queries"] + again,
            "hits": self._counts["hits"] + again,
            **self._cache.sizes(),
            "asked": self._lookups.asked,
            "hedges": self._lookups.upstreams.hedges,
            "junk": self._lookups.junk,
            "pending": len(self._lookups.table) + len(self._fresh),
            "front": len(self._front),
            "refusals": len(self._refuser.front),
            "refused": self._refuser.count,
            "grants": len(self._ledger),
            "names": self._ledger.names_held,
            "closings": len(self._closer),
            "kept": len(self._keeper),
            "renewed": self._offers.count,
            **self._gate.stats(),
        }
