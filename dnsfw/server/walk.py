"""What another policy makes of what stands, some at a time: answers go on in between."""

from __future__ import annotations

import asyncio
from itertools import islice

from dnsfw.datapath.swap import Slices
from dnsfw.engine.flows import FlowCheck
from dnsfw.server.clock import Now
from dnsfw.server.kernel import Kernel
from dnsfw.server.performer import Performer

__all__ = ["in_turns", "walk_flows", "walk_grants"]

_AT_ONCE = 128  # a millisecond of the loop
_TURN = 1_000_000  # nanoseconds: most addresses need a look, and no more
_GRANTS = 64  # each of which may need thirty microseconds


async def in_turns(slices: Slices) -> None:
    """All of it, and somebody else in between."""
    for _ in slices:
        await asyncio.sleep(0)


async def walk_grants(performer: Performer, now: Now) -> None:
    """Close what the policy of now refuses. An answer in between is opened by it."""
    engine = performer.engine
    while engine.unjudged:
        moment = now()
        end = moment + _TURN
        while engine.unjudged and moment < end:
            performer.perform(engine.judge_held(moment, _GRANTS))
            moment = now()
        await asyncio.sleep(0)


async def walk_flows(kernel: Kernel, performer: Performer, now: Now) -> None:
    """End what the policy of now refuses. DatapathError where the table cannot be read."""
    walk = FlowCheck(last=False)
    flows = iter(kernel.sink.flows())
    while not walk.last:
        some = list(islice(flows, _AT_ONCE))
        walk.last = len(some) < _AT_ONCE
        performer.perform(performer.engine.judge_flows(some, now(), walk))
        await asyncio.sleep(0)
