"""What a writing thread takes from its queue at once."""

from __future__ import annotations

import queue

from dnsfw.server.gather import BATCH, gather


def of(*items: int | None) -> queue.Queue[int | None]:
    made: queue.Queue[int | None] = queue.Queue()
    for item in items:
        made.put(item)
    return made


def test_all_that_waits_comes_at_once_in_its_order() -> None:
    assert gather(of(1, 2, 3), idle=0) == ([1, 2, 3], True)


def test_nothing_is_no_end() -> None:
    assert gather(of(), idle=0) == ([], True)


def test_what_came_before_the_end_is_the_last() -> None:
    assert gather(of(1, 2, None), idle=0) == ([1, 2], False)
    assert gather(of(None), idle=0) == ([], False)


def test_a_flood_comes_in_parts_and_its_end_with_the_last() -> None:
    many = of(*range(BATCH + 1), None)

    assert gather(many, idle=0) == (list(range(BATCH)), True)
    assert gather(many, idle=0) == ([BATCH], False)
