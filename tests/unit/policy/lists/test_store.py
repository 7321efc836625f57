"""Compiled lists on disk: made once, found again, never believed when damaged."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.policy.lists import store as module
from dnsfw.policy.lists.formats import Format
from dnsfw.policy.lists.store import ListSource, Store, cache_dir
from dnsfw.policy.lists.table import Table
from dnsfw.wire.name import from_text


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that were read and compiled, in order."""
    made: list[str] = []
    real = module._compiled

    def counting(source: ListSource, data: bytes) -> bytes:
        made.append(source.path.name)
        return real(source, data)

    monkeypatch.setattr(module, "_compiled", counting)
    return made


def source(tmp_path: Path, text: str = "a.example\n", **options: bool) -> ListSource:
    path = tmp_path / "names.txt"
    path.write_text(text)
    return ListSource(path, Format.PLAIN, **options)


def test_the_second_load_maps_what_the_first_made(tmp_path: Path, compiled: list[str]) -> None:
    wanted, store = source(tmp_path), Store(tmp_path / "cache")

    first, second = store.load(wanted), store.load(wanted)

    assert compiled == ["names.txt"]
    assert first.find(from_text("a.example")) == second.find(from_text("a.example")) is not None


def test_a_file_packed_with_gzip_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "names.txt.gz"
    path.write_bytes(gzip.compress(b"a.example\n"))

    with pytest.raises(PolicyError, match="unpack it with gunzip"):
        Store(tmp_path / "cache").load(ListSource(path, Format.PLAIN))


def test_a_source_that_was_only_touched_is_not_compiled_again(
    tmp_path: Path, compiled: list[str]
) -> None:
    wanted, store = source(tmp_path), Store(tmp_path / "cache")
    store.load(wanted)

    os.utime(wanted.path, (1, 1))
    store.load(wanted)

    assert compiled == ["names.txt"]


def test_a_changed_source_is_compiled_and_its_old_table_goes(
    tmp_path: Path, compiled: list[str]
) -> None:
    wanted, store = source(tmp_path), Store(tmp_path / "cache")
    old = store.load(wanted)
    wanted.path.write_text("b.example\n")

    table = store.load(wanted)

    assert len(compiled) == 2
    assert table.find(from_text("b.example")) and not table.find(from_text("a.example"))
    assert old.find(from_text("a.example"))  # still mapped by who has it
    assert len(list((tmp_path / "cache").glob("*.list"))) == 1


def test_the_same_source_read_two_ways_is_two_tables(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    exact, suffix = source(tmp_path), source(tmp_path, suffix=True)

    assert store.load(exact).find(from_text("x.a.example")) is None
    assert store.load(suffix).find(from_text("x.a.example")) is not None
    assert len(list((tmp_path / "cache").glob("*.list"))) == 2


def test_a_damaged_table_is_made_again(tmp_path: Path, compiled: list[str]) -> None:
    wanted, store = source(tmp_path), Store(tmp_path / "cache")
    store.load(wanted)
    (kept,) = (tmp_path / "cache").glob("*.list")
    kept.write_bytes(kept.read_bytes()[:-1])

    assert store.load(wanted).find(from_text("a.example")) is not None
    assert len(compiled) == 2


def test_a_store_that_cannot_be_written_still_gives_the_list(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    table = Store(blocked / "cache").load(source(tmp_path))

    assert isinstance(table, Table)
    assert table.find(from_text("a.example")) is not None


def test_others_cannot_look_into_the_store(tmp_path: Path) -> None:
    Store(tmp_path / "cache").load(source(tmp_path))

    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


def test_a_list_without_a_rule_is_an_error_that_shows_the_first_line(tmp_path: Path) -> None:
    wanted = source(tmp_path, "<!DOCTYPE html>\n<html>404</html>\n")

    with pytest.raises(PolicyError, match=r"no line of it is a rule.*line 1"):
        Store(tmp_path / "cache").load(wanted)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.txt: No such file"):
        Store(tmp_path / "cache").load(ListSource(tmp_path / "gone.txt", Format.PLAIN))


def test_a_pipe_in_the_place_of_a_list_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ConfigError, match="not a regular file"):
        Store(tmp_path / "cache").load(ListSource(tmp_path / "pipe", Format.PLAIN))


def test_the_directory_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(tmp_path))

    assert cache_dir() == tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root cares whose a file is")
@pytest.mark.parametrize("how", ["owner", "mode", "link"])
def test_row_126_a_list_that_somebody_else_can_write_is_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text("x.example\n")
    source = ListSource(path, Format.PLAIN)
    store = Store(tmp_path / "cache")
    assert len(store.load(source)) == 1

    if how == "owner":
        os.chown(path, 12345, 0)
    elif how == "mode":
        path.chmod(0o666)
    else:
        path.rename(tmp_path / "real.txt")
        path.symlink_to(tmp_path / "real.txt")
        os.chown(path, 12345, 0, follow_symlinks=False)

    with pytest.raises(PolicyError, match=r"chown root|chmod go-w|own links only"):
        store.load(source)
