"""The compiled list against the obvious way to look a name up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.model import Name
from dnsfw.policy.lists.columns import NOT_TREE, TREE, Means, Parsed
from dnsfw.policy.lists.table import Damaged, Table, build
from dnsfw.wire.name import from_text

LABELS = st.sampled_from(["a", "b", "aa", "x", "ab", "x" * 46])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
MEANS = st.sampled_from(
    [Means.SELF, Means.BELOW, TREE, Means.NOT_SELF, NOT_TREE, TREE | Means.IMPORTANT]
)


def table(entries: list[tuple[str, int]], *, first: bool = True) -> Table:
    parsed = Parsed()
    for line, (name, means) in enumerate(entries, 1):
        parsed.add(name, means, line)
    return Table(memoryview(build(parsed, {"exceptions_first": first})))


def naive(entries: list[tuple[str, int]], name: str, first: bool) -> str | None:
    """The deepest suffix that speaks, entry by entry."""
    joined: dict[str, int] = {}
    for key, means in entries:
        joined[key] = joined.get(key, 0) | means
    parts = name.split(".")
    best, silent, important = None, False, False
    for at in range(len(parts) - 1, -1, -1):
        suffix = ".".join(parts[at:])
        means = joined.get(suffix, 0)
        if means & (Means.SELF if at == 0 else Means.BELOW):
            best, important = suffix, important or bool(means & Means.IMPORTANT)
            silent = silent and first
        if means & (Means.NOT_SELF if at == 0 else Means.NOT_BELOW):
            silent = True
    return None if silent and not important else best


@given(st.lists(st.tuples(NAMES, MEANS), min_size=1, max_size=12), NAMES, st.booleans())
def test_a_look_up_finds_what_the_naive_one_finds(
    entries: list[tuple[str, int]], name: str, first: bool
) -> None:
    found = table(entries, first=first).find(from_text(name))
    expected = naive(entries, name, first)

    assert (found and found.suffix) == (expected and from_text(expected))


def test_a_hit_says_the_first_line_of_its_name() -> None:
    found = table([("a.b", Means.SELF), ("x.b", Means.SELF), ("a.b", Means.BELOW)]).find(
        from_text("a.b")
    )

    assert found is not None
    assert (found.line, found.means) == (1, TREE)


def test_a_label_that_contains_a_dot_is_no_suffix() -> None:
    listed = table([("x.b", TREE)])

    assert listed.find(Name(b"\x03x.b\x00")) is None
    assert listed.find(Name(b"\x01q\x03x.b\x00")) is None
    assert listed.find(from_text("q.x.b")) is not None


def test_a_label_that_contains_a_dot_hides_no_name_below_a_listed_one() -> None:
    """`ads.example` with all below means `a\\.b.ads.example` too, and an exact entry does not."""
    listed = table([("ads.example", TREE), ("exact.example", Means.SELF)])

    found = listed.find(Name(b"\x03a.b\x03ads\x07example\x00"))
    assert found is not None
    assert found.suffix == from_text("ads.example")
    assert listed.find(Name(b"\x01q\x03a.b\x01c\x03ads\x07example\x00")) is not None
    assert listed.find(Name(b"\x03a.b\x05exact\x07example\x00")) is None
    assert listed.find(Name(b"\x0bads.example\x00")) is None


def test_the_names_of_a_list_come_apart_by_what_they_mean() -> None:
    one = table([("x.b", TREE), ("b.c", TREE)])
    two = table([("x.b", TREE), ("b.c", Means.SELF)])

    assert {m: sorted(names) for m, names in one.by_means()} == {TREE: ["b.x.", "c.b."]}
    assert {m: sorted(names) for m, names in two.by_means()} == {TREE: ["b.x."], 1: ["c.b."]}


def test_a_label_as_long_as_a_dot_is_an_ordinary_one() -> None:
    long = "x" * 46  # 46 is the octet of "."

    assert table([(long + ".b", TREE)]).find(from_text("q." + long + ".b")) is not None


def test_octets_that_no_list_holds_are_not_found() -> None:
    assert table([("x.b", TREE)]).find(Name(b"\x02\xff\x00\x01b\x00")) is None


@pytest.mark.parametrize("at", [0, 9, 60, -1])
def test_a_file_that_was_changed_is_refused(tmp_path: Path, at: int) -> None:
    parsed = Parsed()
    parsed.add("a.example", int(TREE), 1)
    data = bytearray(build(parsed, {}))
    path = tmp_path / "list"
    path.write_bytes(data)
    assert len(Table.open(path)) == 1

    data[at] ^= 0x40
    path.write_bytes(data)

    with pytest.raises(Damaged):
        Table.open(path)


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    parsed = Parsed()
    parsed.add("a.example", int(TREE), 1)
    data = build(parsed, {})
    path = tmp_path / "list"
    for size in (0, 10, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(Damaged):
            Table.open(path)


def test_what_stands_for_a_name_can_be_listed() -> None:
    listed = table([("a.b", Means.SELF), ("x.b", TREE)])

    assert sorted(listed.names()) == [("a.b", Means.SELF, 1), ("x.b", TREE, 2)]
    assert listed.means("x.b") == TREE
    assert listed.means("b") == 0
