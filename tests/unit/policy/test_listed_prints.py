"""The fingerprints of lists: a class for every set of lists, the same after a way to disk."""

from __future__ import annotations

import random

import pytest

from dnsfw.model import abi
from dnsfw.policy.buckets import Full, buckets_for
from dnsfw.policy.listed_prints import (
    APART,
    FIRST_CLASS,
    HOME,
    STOP,
    Damaged,
    Listed,
    PlainBuilder,
    build,
    empty,
    wanted,
)  # fmt: skip
from dnsfw.policy.lists.columns import TREE, Means, Parsed
from dnsfw.policy.lists.table import Table
from dnsfw.policy.lists.table import build as build_table
from dnsfw.policy.siphash import hash_name
from dnsfw.wire.name import from_text
from tests.support.prints import KEY


def table(*names: str, means: int = TREE) -> Table:
    parsed = Parsed()
    for at, name in enumerate(names):
        parsed.add(name, int(means), at + 1)
    return Table(memoryview(build_table(parsed, {})))


def made(*tables: Table, buckets: int = 64) -> Listed:
    return build(tables, KEY, buckets, PlainBuilder)


def class_of(listed: Listed, name: str) -> int:
    return listed.find(hash_name(KEY, from_text(name), listed.home))


def test_a_name_has_the_class_of_the_lists_that_hold_it() -> None:
    listed = made(table("a.x", "b.x"), table("b.x", "c.x", means=Means.SELF))

    assert listed.classes[class_of(listed, "a.x")] == ((0, 3),)
    assert listed.classes[class_of(listed, "b.x")] == ((0, 3), (1, 1))
    assert listed.classes[class_of(listed, "c.x")] == ((1, 1),)
    assert class_of(listed, "x") == class_of(listed, "q.a.x") == 0
    assert (listed.entries, len(listed.classes)) == (3, FIRST_CLASS + 3)


def test_names_that_share_suffixes_are_hashed_as_if_alone() -> None:
    rng = random.Random(3)
    names = {
        ".".join(rng.choice(("a", "bb", "c-3", "d" * 40)) for _ in range(rng.randrange(2, 7)))
        for _ in range(400)
    }
    listed = made(table(*names), buckets=buckets_for(len(names)))

    assert all(class_of(listed, name) == FIRST_CLASS for name in names)
    assert listed.entries == len(names)


def test_past_the_last_class_python_decides() -> None:
    tables = [table("x.example", f"n{at}.example") for at in range(2)]
    many = [table("x.example", f"m{at}.example") for at in range(6)]
    limit = 1 << abi.Suffix.CLASS_BITS
    listed = build(tables + many, KEY, 64, PlainBuilder)

    assert class_of(listed, "x.example") < limit
    assert STOP < FIRST_CLASS


def test_the_file_says_the_same_and_damage_is_seen() -> None:
    listed = made(table("a.x", "b.x"))
    data = b"".join(bytes(part) for part in listed.pack())
    again = Listed.unpack(memoryview(data))

    assert (again.key, again.buckets, again.entries, again.classes) == (
        listed.key, listed.buckets, listed.entries, listed.classes,
    )  # fmt: skip
    assert class_of(again, "b.x") == class_of(listed, "b.x")
    for broken in (data[:9], data[:-8], data[:-1] + b"\xff", b"x" + data[1:]):
        with pytest.raises((Damaged, ValueError)):
            Listed.unpack(memoryview(broken))


def test_lists_are_numbered_by_what_they_say_and_each_one_once() -> None:
    one, two, same = table("a.x"), table("b.x"), table("a.x")

    assert wanted([one, two, same]) == wanted([two, same]) == wanted([same, two])[:2]
    assert len(wanted([one, two, same])) == 2


def test_a_table_that_is_too_small_says_so() -> None:
    with pytest.raises(Full):
        made(table(*(f"n{at}.example" for at in range(100))), buckets=8)


def test_no_list_is_an_empty_table_with_room_for_rules() -> None:
    listed = empty(KEY, 1000)

    assert listed.entries == 0
    assert listed.buckets == buckets_for(1000)
    assert class_of(listed, "a.x") == 0


def test_all_suffixes_of_a_name_lie_in_one_line_of_memory() -> None:
    """The last two labels say where; the builder in Python, `hash_name` and the slots agree."""
    names = ("a.x", "b.a.x", "c.b.a.x", "d.y")
    listed = made(table(*names, means=Means.SELF))
    places = [hash_name(KEY, from_text(name), HOME)[1] for name in names]

    assert places[0] == places[1] == places[2] != places[3]
    assert all(class_of(listed, name) for name in names)
    first = (places[0] & 0xFFFF_FFFF) * 64 >> 32
    assert sum(map(bool, listed.slots[8 * first : 8 * first + 8])) == 3


def test_a_list_of_one_domain_alone_lies_apart() -> None:
    crowd = table(*(f"n{at}.hosting.x" for at in range(2000)), means=Means.SELF)
    count = buckets_for(2000)

    with pytest.raises(Full):
        build((crowd,), KEY, count, PlainBuilder)
    listed = build((crowd,), KEY, count, PlainBuilder, home=APART)

    assert Listed.unpack(memoryview(b"".join(listed.pack()))).home == APART
    assert all(class_of(listed, f"n{at}.hosting.x") for at in range(2000))
