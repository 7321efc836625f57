"""The names of a list as a text, on disk until somebody has used it."""

from __future__ import annotations

from pathlib import Path

from dnsfw.policy.lists.columns import TREE, Means, Parsed
from dnsfw.policy.lists.spelled import forget, keep, read, spelled
from dnsfw.policy.lists.table import Table, build


def table(*names: tuple[str, int]) -> Table:
    parsed = Parsed()
    for at, (name, means) in enumerate(names):
        parsed.add(name, int(means), at + 1)
    return Table(memoryview(build(parsed, {})))


def test_the_names_are_lines_that_begin_with_a_dot() -> None:
    assert list(spelled(table(("www.example.com", TREE)))) == [(3, b"\n.www.example.com")]


def test_names_of_different_meaning_are_texts_of_their_own() -> None:
    some = table(("a.x", TREE), ("b.x", Means.SELF), ("c.x", TREE))

    assert {means: set(text.split(b"\n")) for means, text in spelled(some)} == {
        3: {b"", b".a.x", b".c.x"}, 1: {b"", b".b.x"},
    }  # fmt: skip


def test_the_file_says_the_same_until_it_is_forgotten(tmp_path: Path) -> None:
    some, other = table(("a.x", TREE), ("b.x", Means.SELF)), table(("a.x", TREE))
    keep(tmp_path, some)

    found = read(tmp_path, some)
    assert found is not None
    assert [(means, bytes(text)) for means, text in found] == list(spelled(some))
    assert read(tmp_path, other) is None
    forget(tmp_path, some)
    forget(tmp_path, some)
    assert read(tmp_path, some) is None


def test_a_file_that_is_cut_or_empty_is_none(tmp_path: Path) -> None:
    some = table(("a.x", TREE))
    keep(tmp_path, some)
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    for broken in (data[:-1], b"", b"x" * len(data)):
        file.write_bytes(broken)
        assert read(tmp_path, some) is None
