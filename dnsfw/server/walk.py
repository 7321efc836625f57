"""Every flow of the kernel's table judged, a few at a time: answers go on in between."""

from __future__ import annotations

import asyncio
from itertools import islice

from dnsfw.engine.flows import FlowCheck
from dnsfw.server.clock import Now
from dnsfw.server.kernel import Kernel
from dnsfw.server.performer import Performer

__all__ = ["walk_flows"]

_AT_ONCE = 128  # a millisecond of the loop


async def walk_flows(kernel: Kernel, performer: Performer, now: Now) -> None:
    """End what the policy of now refuses. DatapathError where the table cannot be read."""
    walk = FlowCheck(last=False)
    flows = iter(kernel.sink.flows())
    while not walk.last:
        some = list(islice(flows, _AT_ONCE))
        walk.last = len(some) < _AT_ONCE
        performer.perform(performer.engine.judge_flows(some, now(), walk))
        await asyncio.sleep(0)
