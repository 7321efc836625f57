"""The short way of fresh questions is the long one: the same random events, the same effects.

Two engines hear everything; one of them has no short way. What they want done, what they
count and what they hold is compared after every event.
"""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest

from dnsfw.engine import fresh
from dnsfw.engine.effects import Effect, Publish
from dnsfw.engine.engine import Engine
from dnsfw.model import Nanos
from dnsfw.policy.policy import Policy
from tests.prop import test_engine as whole
from tests.prop.test_engine import EVENTS, LIMITS, World, random_policy
from tests.support.fakes import FixedRng, KernelTable
from tests.support.play import Play

SEEDS = range(int(os.environ.get("DNSFW_FUZZ_SEEDS", "12")))
EVENT_CALLS = {
    "on_query", "on_answer", "on_ask_failed", "on_deadline", "on_open_failed", "on_close_failed",
    "renew", "restore", "set_lockdown", "swap_policy", "unpublished", "next_deadline",
}  # fmt: skip


class Both:
    """An engine, and one beside it that goes the long way only."""

    def __init__(self, policy: Policy, upstreams: int, rng: FixedRng, *_: object, **__: object):
        self.short, self.long = (
            Engine(policy, upstreams, FixedRng(rng.last), LIMITS, publishes=True) for _ in "12"
        )
        self.long._fresh.asked = lambda *_: None  # type: ignore[method-assign]
        self.taken = 0

    def __getattr__(self, name: str) -> Any:
        if name not in EVENT_CALLS:
            return getattr(self.short, name)

        def call(*args: Any) -> Any:
            before = len(self.short._fresh)
            found, expected = getattr(self.short, name)(*args), getattr(self.long, name)(*args)
            if isinstance(found, list):
                one, other = list(map(told, found)), list(map(told, expected))
                if name in ("swap_policy", "set_lockdown", "on_deadline"):  # each in its own order
                    one, other = sorted(one), sorted(other)
                assert one == other, (name, args)
            else:
                assert found == expected
            self.taken += len(self.short._fresh) > before
            now = next((a for a in args if isinstance(a, int)), None)
            assert self.short.stats() == self.long.stats(), (name, args)
            if now is not None:
                grants = (sorted(map(str, e.grants(Nanos(now)))) for e in (self.short, self.long))
                assert next(grants) == next(grants)
            return found

        return call


def told(effect: Effect) -> str:
    if isinstance(effect, Publish):
        made = effect.template.parts
        return str((effect.key, made, effect.born, effect.until, effect.note))
    text = str(effect)
    for publish in getattr(effect, "publish", ()):
        text = text.replace(str(publish), told(publish))
    return text


@pytest.mark.parametrize("seed", SEEDS)
def test_both_ways_lead_to_the_same_effects(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "Engine", Both)
    monkeypatch.setattr(fresh, "_APART", 0)  # a hedge is begun a little later than it would be
    rng = Random(seed)
    policy = random_policy(rng)
    engine: Any = Both(policy, 1 + seed % 2, FixedRng())
    world = World(rng, Play(policy, engine, KernelTable(LIMITS.grants)))
    events = [world.query] * 60 + [world.answer] * 60 + [world.wait] * 14
    events += [world.swap] * 2 + [world.fail_writes, world.lock, world.restart]
    events += [world.renew] * 4
    taken = 0

    for _ in range(EVENTS):
        rng.choice(events)()
        world.play.now = Nanos(world.play.now + 1)  # whose turn it is at one moment is no matter
        world.play.forget()
        current: Any = world.play.engine
        taken, current.taken = taken + current.taken, 0

    assert taken or seed, "nothing went the short way"  # some policies only audit
