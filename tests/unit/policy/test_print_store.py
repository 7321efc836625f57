"""Fingerprints on disk: found by what the lists say, made again when they are damaged."""

from __future__ import annotations

from pathlib import Path

from dnsfw.policy.listed_prints import PlainBuilder
from dnsfw.policy.print_store import PrintStore
from dnsfw.policy.siphash import Key, hash_name
from dnsfw.wire.name import from_text
from tests.unit.policy.test_listed_prints import table


class Counting(PlainBuilder):
    built = 0

    def __init__(self, key: Key, buckets: int, home: int) -> None:
        super().__init__(key, buckets, home)
        Counting.built += 1



def builds(store: PrintStore, *names: str, buckets: int = 64) -> int:
    Counting.built = 0
    listed = store.load([table(*names)], buckets, Counting)
    assert listed.find(hash_name(store.key, from_text(names[0]), listed.home))
    return Counting.built


def test_what_was_built_once_is_mapped_by_every_later_start(tmp_path: Path) -> None:
    assert builds(PrintStore(tmp_path), "a.x", "b.x") == 1
    assert builds(PrintStore(tmp_path), "a.x", "b.x") == 0
    assert builds(PrintStore(tmp_path), "a.x", "c.x") == 1
    assert builds(PrintStore(tmp_path), "a.x", "b.x", buckets=80) == 1


def test_the_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    store = PrintStore(tmp_path / "new")

    assert PrintStore(tmp_path / "new").key == store.key
    assert PrintStore(tmp_path / "other").key != store.key
    assert (tmp_path / "new/prints.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_damaged_table_and_one_of_another_key_are_made_again(tmp_path: Path) -> None:
    store = PrintStore(tmp_path)
    builds(store, "a.x")
    (file,) = tmp_path.glob("*.prints")
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))
    assert builds(PrintStore(tmp_path), "a.x") == 1
    (tmp_path / "prints.key").write_bytes(b"short")
    assert builds(PrintStore(tmp_path), "a.x") == 1


def test_a_store_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert builds(PrintStore(tmp_path / "file/below"), "a.x") == 1


def test_the_oldest_tables_are_swept(tmp_path: Path) -> None:
    store = PrintStore(tmp_path)
    for at in range(7):
        builds(store, f"a{at}.x")

    assert len(list(tmp_path.glob("*.prints"))) == 4


def test_names_that_another_process_spelled_are_used_once(tmp_path: Path) -> None:
    store = PrintStore(tmp_path)
    lists = [table("a.x", "b.x")]
    store.spell(lists)
    assert len(list(tmp_path.glob("*.names"))) == 1

    assert builds(store, "a.x", "b.x") == 1
    assert not list(tmp_path.glob("*.names"))
    store.spell(lists)  # there is a table: nobody needs the names
    assert not list(tmp_path.glob("*.names"))
