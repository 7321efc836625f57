"""The builder that the kernel compiles makes the table that the plain one makes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dnsfw.datapath.suffix_build import Filler, Join, KernelBuilder, Mark
from dnsfw.errors import DatapathError
from dnsfw.policy.buckets import Buckets, buckets_for
from dnsfw.policy.listed_prints import APART, FIRST_CLASS, HOME, PlainBuilder, spill
from dnsfw.policy.siphash import hash_name
from dnsfw.wire.name import from_text
from tests.support.prints import KEY

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_bpf]


@pytest.fixture(scope="module")
def filler() -> Iterator[Filler]:
    made = Filler()
    yield made
    made.close()


@contextmanager
def building(filler: Filler, buckets: int, home: int = HOME) -> Iterator[KernelBuilder]:
    made = KernelBuilder(KEY, buckets, home, spill, filler)
    try:
        yield made
    finally:
        made.close()


def text(names: Sequence[str]) -> bytes:
    return "".join(f"\n.{name}" for name in names).encode()


def some_names(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-_"
    names = {"x" * size + ".example" for size in range(1, 64)}
    names |= {".".join("ab"[:1] * depth) + ".example" for depth in range(1, 100)}
    while len(names) < count:
        labels = ("".join(rng.choices(letters, k=rng.randrange(1, 30))) for _ in range(2))
        names.add(".".join(labels) + rng.choice((".com", ".net", ".example")))
    return sorted(names)


@pytest.mark.parametrize("home", [HOME, APART])
def test_both_builders_make_the_same_table(filler: Filler, home: int) -> None:
    names = some_names(20_000, 1)
    count = buckets_for(len(names))
    plain = PlainBuilder(KEY, count, home)
    assert plain.add(text(names), lambda old: FIRST_CLASS) == len(names)

    with building(filler, count, home) as kernel:
        assert kernel.add(text(names), lambda old: FIRST_CLASS) == len(names)
        assert sorted(kernel.slots.tolist()) == sorted(plain.slots.tolist())
        found = Buckets(kernel.slots, count)
        assert all(found.find(hash_name(KEY, from_text(name), home)) for name in names)


def test_a_name_of_several_lists_gets_the_class_of_all(filler: Filler) -> None:
    """Three lists that overlap, the second with a combination that nobody knew before."""
    one, two, three = some_names(3000, 2), some_names(3000, 2)[1000:], some_names(3000, 3)
    count = buckets_for(9000)

    def join_of(bit: int) -> Join:
        return lambda old: FIRST_CLASS + ((old - FIRST_CLASS if old else 0) | bit)

    plain = PlainBuilder(KEY, count)
    with building(filler, count) as kernel:
        for bit, names in ((1, one), (2, two), (4, three)):
            assert kernel.add(text(names), join_of(bit)) == plain.add(
                text(names), join_of(bit)
            )
        assert sorted(kernel.slots.tolist()) == sorted(plain.slots.tolist())


def test_names_without_room_in_their_buckets_move_others(filler: Filler) -> None:
    """Nine tenths full: dozens spill."""
    names = some_names(7000, 4)
    count = len(names) * 10 // 9 // 8
    spilled = 0

    def counted(table: memoryview, mark: Mark, join: Join) -> None:
        nonlocal spilled
        spilled += 1
        spill(table, mark, join)

    made = KernelBuilder(KEY, count, HOME, counted, filler)
    try:
        assert made.add(text(names), lambda old: FIRST_CLASS) == len(names)
        found = Buckets(made.slots, count)
        assert spilled > 20
        assert all(found.find(hash_name(KEY, from_text(name), HOME)) for name in names)
    finally:
        made.close()


def test_a_text_of_many_chunks_is_cut_between_names(filler: Filler) -> None:
    names = [f"{at:050d}.{at:060d}.example" for at in range(9000)]  # a MB
    count = buckets_for(len(names))
    with building(filler, count) as kernel:
        assert kernel.add(text(names), lambda old: FIRST_CLASS) == len(names)
        found = Buckets(kernel.slots, count)
        assert all(found.find(hash_name(KEY, from_text(name), HOME)) for name in names[::10])


def test_an_object_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DatapathError, match="make -C kernel"):
        Filler(tmp_path / "none.o")
