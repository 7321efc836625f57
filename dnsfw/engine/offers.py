"""What the kernel answers by itself: offered on the second ask, taken back in one stroke.

An answer is offered when it is asked for again, so that names made up at random never fill
the kernel's table. Whatever empties a front takes the kernel's copies back before anything
else is done: both hold judgements of now. Before an answer that is in use ends, the question
is asked anew, and what comes back takes its place (`renew`).
"""

from __future__ import annotations

from collections.abc import Sequence

from dnsfw.engine.cache import Cache, CacheKey, Front, Ready
from dnsfw.engine.effects import Effect, OpenThenReply, Publish, Withdraw
from dnsfw.engine.limits import Limits
from dnsfw.engine.lookups import Done, Lookups
from dnsfw.engine.pending import Waiter
from dnsfw.engine.settle import Settler
from dnsfw.model import Mode, Name, Nanos
from dnsfw.policy.policy import Policy
from dnsfw.wire.parts import PAIR

__all__ = ["Offers", "asked_name", "asked_type"]


class Offers:
    """The engine's side of the kernel's answers; `able` where there is a table for them, `on`
    where the policy wants it used. `copied`: other processes have copies of a front too.
    """

    def __init__(
        self, fronts: tuple[Front, Front], lookups: Lookups, limits: Limits, *, able: bool,
        copied: bool = False,
    ) -> None:
        self.able = able
        self.copied = copied
        self.on = False
        self.count = 0  # questions asked anew
        self._fronts = fronts
        self._lookups = lookups
        self._most = limits.renewals_at_once
        self._flying: set[CacheKey] = set()

    def __len__(self) -> int:
        return len(self._flying)

    def begin(self) -> None:
        """Nothing has been judged yet: what an earlier process published may stay."""
        for front in self._fronts:
            front.cleared = False

    def make(self, key: CacheKey, ready: Ready) -> Publish:
        """Offer it, once."""
        for front in self._fronts:
            front.offered(key)
        note = ready.notes[0] if ready.notes else None
        return Publish(key, ready.template, ready.born, ready.until, note)

    def again(self, key: CacheKey) -> None:
        """The kernel had no room for it, or has it no more."""
        for front in self._fronts:
            front.offered(key, again=True)

    def withdrawn(self) -> list[Effect]:
        """What must be done before everything else, if a front was emptied since the last time."""
        answers, refusals = self._fronts
        if not (answers.cleared or refusals.cleared):
            return []
        if not (self.able or self.copied):
            self.begin()
            return []
        answers.clear()  # both: what stays in one of them would not be offered again
        refusals.clear()
        self._flying.clear()
        self.begin()
        return [Withdraw()]

    # --- ahead of its end ---

    def renew(self, key: CacheKey, until: Nanos, now: Nanos) -> list[Effect] | None:
        """Ask for an answer that ends then; None: not now. The caller knows that it may be
        asked for.
        """
        ready = self._fronts[0].get(key)
        if ready is not None and ready.until > until:  # somebody else had it asked meanwhile
            return [self.make(key, ready)] if ready.offer else []
        if key in self._flying:
            return []
        if len(self._flying) >= self._most:
            return None
        qtype, _ = PAIR.unpack(key.key[-PAIR.size :])
        asked = self._lookups.close_name(key, asked_name(key), qtype, now)
        if asked is not None:
            self._flying.add(key)
            self.count += 1
        return asked

    def renews(self, key: CacheKey) -> bool:
        """Whether an answer to this question is wanted for the kernel."""
        return key in self._flying

    def renewed(
        self,
        done: Done,
        waiters: Sequence[Waiter],
        cache: Cache,
        policy: Policy,
        settler: Settler,
        now: Nanos,
    ) -> list[Effect]:
        """An answer, or none, to what `renew` asked. The caller has judged the name. `waiters`:
        who asked meanwhile; none where the role is gone, or in audit.
        """
        key, facts = done.pending.key, done.facts
        self._flying.discard(key)
        role = policy.roles.get(key.role)
        if facts is None or role is None or role.mode is not Mode.ENFORCE:
            return []  # it ends when it would have
        cache.put(key, facts, now)
        effects = settler.settle(key, facts, role, waiters, now) or []
        ready = self._fronts[0].get(key)
        if ready is None or not ready.offer:
            return effects
        return _behind(effects, self.make(key, ready))


def asked_name(key: CacheKey) -> Name:
    """The name of a question."""
    return Name(key.key[: -PAIR.size])


def asked_type(key: CacheKey) -> int:
    """The type that a question asks for."""
    return int.from_bytes(key.key[-PAIR.size : -2], "big")


def _behind(effects: list[Effect], publish: Publish) -> list[Effect]:
    """Published when what it tells is open, and never if that fails."""
    for at, effect in enumerate(effects):
        if isinstance(effect, OpenThenReply):
            opened = OpenThenReply(effect.entries, effect.holders, effect.replies, (publish,))
            return [*effects[:at], opened, *effects[at + 1 :]]
    return [*effects, publish]
