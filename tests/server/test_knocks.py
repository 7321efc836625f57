"""Each role has its turn at the door."""

from __future__ import annotations

import asyncio

from dnsfw.model import RoleId
from dnsfw.server.knocks import MOST_OF_A_ROLE, Knock, Knocks

WEB, JOBS = RoleId(20), RoleId(21)


async def drain(knocks: Knocks, count: int) -> list[tuple[RoleId, int]]:
    return [(k.role, k.netns) for k in [await knocks.get() for _ in range(count)]]


def test_a_storm_of_one_role_delays_another_by_one_turn() -> None:
    async def play() -> list[tuple[RoleId, int]]:
        knocks = Knocks()
        for netns in range(10):
            knocks.put(Knock(netns, 1, WEB))
        knocks.put(Knock(100, 2, JOBS))
        return await drain(knocks, 3)

    assert asyncio.run(play()) == [(WEB, 0), (JOBS, 100), (WEB, 1)]


def test_a_namespace_waits_once_and_by_its_last_knock() -> None:
    async def play() -> Knock:
        knocks = Knocks()
        knocks.put(Knock(5, 1, WEB))
        knocks.put(Knock(5, 2, WEB))
        first = await knocks.get()
        knocks.put(Knock(6, 3, WEB))
        assert (await knocks.get()).netns == 6
        return first

    assert asyncio.run(play()).pid == 2


def test_a_role_has_only_so_many_waiting_and_others_still_have_room() -> None:
    knocks = Knocks()
    taken = [knocks.put(Knock(netns, 1, WEB)) for netns in range(MOST_OF_A_ROLE + 1)]

    assert taken == [True] * MOST_OF_A_ROLE + [False]
    assert knocks.put(Knock(1000, 1, JOBS))


def test_a_reader_that_waits_is_woken() -> None:
    async def play() -> int:
        knocks = Knocks()
        waiting = asyncio.create_task(knocks.get())
        await asyncio.sleep(0)
        knocks.put(Knock(7, 1, WEB))
        return (await waiting).netns

    assert asyncio.run(play()) == 7
