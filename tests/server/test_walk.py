"""Every flow is judged, and the loop turns meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from dnslib import RCODE

from dnsfw.model import DEFAULT_RULE, HOST, Addr, Flow, Nanos, Reason, abi, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.server.walk import walk_flows, walk_grants
from tests.support.nanodns import NanoDns
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


async def test_many_grants_close_in_turns_with_answers_by_the_new_policy(tmp_path: Path) -> None:
    """Row 66: and what an answer opens meanwhile stays open."""
    names = [f"n{number}.example.com" for number in range(400)]
    async with NanoDns(ttl=60) as dns, running(tmp_path, [dns.endpoint]) as run:
        for number, name in enumerate(names):
            dns.zone[name, "A"] = [f"198.18.{number >> 8}.{number & 255}"]
            await run.query(name)
        engine, performer = run.daemon.service.engine, run.daemon.service.performer
        ticks = 0

        def now() -> Nanos:  # each look takes a turn
            nonlocal ticks
            ticks += 1
            return Nanos(run.daemon.now() + ticks * 1_000_000)

        policy = compile_text("version: 1\ndefault: deny\nrules: [{allow: n7.example.com}]\n")
        performer.perform(engine.begin_swap(policy, run.daemon.now()))
        walk = asyncio.create_task(walk_grants(performer, now))
        await asyncio.sleep(0)
        left = len(list(run.kernel.sink.entries()))
        answered = await run.query("n7.example.com")
        refused = await run.query("n8.example.com")
        await walk

        assert 0 < left < len(names), "some at a time"
        assert answered.header.rcode == RCODE.NOERROR and refused.header.rcode == RCODE.NXDOMAIN
        assert [e.addr for e in run.kernel.sink.entries()] == [addr_from("198.18.0.7")]
