"""Every flow is judged, and the loop turns meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from dnsfw.model import DEFAULT_RULE, HOST, Addr, Flow, Nanos, Reason, abi, addr_from
from dnsfw.server.walk import walk_flows
from tests.support.running import running

FLOW = Flow(
    b"k", HOST, DEFAULT_RULE, False, 6, Addr(bytes(16)), 40_000, addr_from("192.0.2.7"), 443,
    Nanos(1), Nanos(1), abi.FlowState.OPEN, Reason.DEFAULT,
)  # fmt: skip


def key(number: int) -> bytes:
    return number.to_bytes(4, "big").rjust(abi.FlowKey.SIZE, b"\1")


async def test_many_flows_are_judged_in_turns_with_the_loop(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        sink = run.kernel.sink
        for number in range(1_200):
            sink.begin_flow(replace(FLOW, key=key(number)))
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(turn())
        await walk_flows(run.kernel, run.daemon.service.performer, run.daemon.now)
        others.cancel()

        assert turns >= 3
        assert list(sink.flows()) == []  # `default: deny`, and no name led there
