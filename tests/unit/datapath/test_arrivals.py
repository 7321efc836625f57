"""Directories that appear and go, told at once."""

from __future__ import annotations

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.datapath.arrivals import Arrivals


@pytest.fixture
def arrivals() -> Iterator[Arrivals]:
    made = Arrivals()
    yield made
    made.close()


def readable(arrivals: Arrivals) -> bool:
    return bool(select.select([arrivals.fileno()], [], [], 0)[0])


def test_a_new_directory_is_told_once(arrivals: Arrivals, tmp_path: Path) -> None:
    assert arrivals.watch({tmp_path})
    assert not readable(arrivals)

    (tmp_path / "nginx.service").mkdir()

    assert readable(arrivals)
    assert arrivals.drain() and not arrivals.drain()
    assert not readable(arrivals)


def test_one_that_goes_is_told(arrivals: Arrivals, tmp_path: Path) -> None:
    (tmp_path / "nginx.service").mkdir()
    arrivals.watch({tmp_path})

    (tmp_path / "nginx.service").rmdir()

    assert arrivals.drain()


def test_only_a_new_watch_asks_for_another_look(arrivals: Arrivals, tmp_path: Path) -> None:
    assert arrivals.watch({tmp_path})
    assert not arrivals.watch({tmp_path})
    assert not arrivals.watch({tmp_path, tmp_path / "gone"})


def test_what_is_no_longer_wanted_is_not_told(arrivals: Arrivals, tmp_path: Path) -> None:
    arrivals.watch({tmp_path})
    arrivals.watch(set())
    arrivals.drain()

    (tmp_path / "x").mkdir()

    assert not readable(arrivals)


def test_a_watched_directory_that_was_made_anew_is_watched_again(
    arrivals: Arrivals, tmp_path: Path
) -> None:
    place = tmp_path / "web.slice"
    place.mkdir()
    arrivals.watch({tmp_path, place})
    place.rmdir()
    place.mkdir()
    assert arrivals.drain()

    assert arrivals.watch({tmp_path, place})
    (place / "nginx.service").mkdir()

    assert arrivals.drain()
