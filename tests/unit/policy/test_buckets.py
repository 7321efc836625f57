"""The table of fingerprints: found again in one of two buckets, moved when both are full."""

from __future__ import annotations

import random

import pytest

from dnsfw.model import abi
from dnsfw.policy.buckets import SLOTS, UNIT, Buckets, Full, buckets_for

MASK = (1 << abi.Suffix.CLASS_BITS) - 1


def table(count: int) -> Buckets:
    return Buckets(memoryview(bytearray(UNIT * count)).cast("Q"), count)


def marks(count: int, seed: int = 1) -> list[tuple[int, int]]:
    rng = random.Random(seed)
    return [(rng.getrandbits(64), rng.getrandbits(64)) for _ in range(count)]


def test_what_was_put_is_found_with_its_class_and_nothing_else_is() -> None:
    made = table(buckets_for(5000))
    some = marks(5000)
    for at, mark in enumerate(some):
        assert made.put(mark, 1 + at % MASK)

    assert [made.find(mark) for mark in some] == [1 + at % MASK for at in range(5000)]
    assert not any(made.find(mark) for mark in marks(5000, seed=2))


def test_a_second_class_takes_the_first_ones_place() -> None:
    made = table(8)
    mark = marks(1)[0]

    assert made.put(mark, 3)
    assert not made.put(mark, 4)
    assert made.find(mark) == 4


def test_full_buckets_make_room_by_moving_to_the_other_one() -> None:
    """Nine tenths full, where two choices alone would have run over long ago."""
    made = table(500)
    some = marks(500 * SLOTS * 9 // 10)
    for mark in some:
        made.put(mark, 7)

    assert all(made.find(mark) == 7 for mark in some)


def test_a_table_without_room_says_so_and_loses_nothing() -> None:
    made = table(8)
    some = marks(8 * SLOTS * 2)
    kept = []
    with pytest.raises(Full):
        for mark in some:
            made.put(mark, 5)
            kept.append(mark)

    assert len(kept) > 8 * SLOTS * 3 // 4
    assert all(made.find(mark) == 5 for mark in kept)


def test_a_full_bucket_says_whether_somebody_went_on_from_it() -> None:
    """So who is not there is looked for in one bucket, mostly, however full it is."""
    count = 1000
    slots = memoryview(bytearray(UNIT * count)).cast("Q")
    made = Buckets(slots, count)
    some = marks(count * SLOTS * 7 // 10)
    for mark in some:
        made.put(mark, 7)
    full = [at for at in range(SLOTS - 1, count * SLOTS, SLOTS) if slots[at]]
    went_on = {at // SLOTS for at in full if slots[at] > slots[at - 1]}

    homes = [(place & 0xFFFF_FFFF) * count >> 32 for _, place in some]
    prints = [set(slots[at : at + SLOTS].tolist()) for at in range(0, count * SLOTS, SLOTS)]
    away = {
        home
        for home, (print_, _) in zip(homes, some, strict=True)
        if print_ & ~MASK | 7 not in prints[home]
    }
    assert away == went_on
    assert 0 < len(went_on) < 0.7 * len(full)


def test_sizes_follow_the_entries_in_steps() -> None:
    sizes = [buckets_for(count) for count in range(0, 200_000, 1000)]

    assert sizes == sorted(sizes)
    assert len(set(sizes)) < 40
    assert all(
        count / (size * SLOTS) <= 0.7
        for count, size in zip(range(0, 200_000, 1000), sizes, strict=True)
    )
    assert buckets_for(1_000_000) * UNIT < 14 << 20
