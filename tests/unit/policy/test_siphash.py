"""SipHash-1-3 over labels: keyed, continued from suffix to suffix, as written in the vectors."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from dnsfw.model import Name
from dnsfw.policy.siphash import begin, end, hash_name, more
from dnsfw.wire.name import from_text

VECTORS = json.loads((Path(__file__).parents[2] / "data/siphash.json").read_text())
KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: str(row["name"])[:40] or "root")
def test_the_stored_vectors_hold(row: dict[str, str]) -> None:
    found = hash_name(KEY, Name(bytes.fromhex(row["wire"])))

    assert [f"{word:016x}" for word in found] == [row["print"], row["place"]]


def test_a_suffix_goes_on_to_the_longer_one() -> None:
    state = more(more(begin(KEY), b"\3com"), b"\7example")

    assert end(state) == hash_name(KEY, from_text("example.com"))
    assert end(more(state, b"\3www")) == hash_name(KEY, from_text("www.example.com"))


def test_another_key_is_another_hash() -> None:
    assert hash_name(KEY, from_text("example.com")) != hash_name((1, 2), from_text("example.com"))


def test_where_a_label_ends_is_part_of_it() -> None:
    """`ab.c` and `a.bc`, a dot inside a label, zeroes at its end: all differ."""
    names = [b"\2ab\1c\0", b"\1a\2bc\0", b"\4ab.c\0", b"\3abc\0", b"\4abc\0\0", b"\5abc\0\0\0",
             b"\7abcdefg\0", b"\x08abcdefgh\0", b"\7abcdefg\1h\0"]  # fmt: skip

    assert len({hash_name(KEY, Name(name)) for name in names}) == len(names)


def test_a_hundred_thousand_names_share_neither_print_nor_place() -> None:
    rng = random.Random(5)
    names = {f"{rng.randrange(1 << 40):x}.example" for _ in range(20_000)}
    found = [hash_name(KEY, from_text(name)) for name in names]

    assert len({print_ for print_, _ in found}) == len(names)
    assert len({place for _, place in found}) == len(names)
    for bit in range(64):  # each bit is as often 0 as 1
        for word in (0, 1):
            share = sum(mark[word] >> bit & 1 for mark in found) / len(found)
            assert abs(share - 0.5) < 0.03, (word, bit)
