"""A takeover goes before others, for as long as it takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from dnsfw.datapath.standing import RECORD
from dnsfw.server.hurry import hurry, relax

T = TypeVar("T")
pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.getpriority(os.PRIO_PROCESS, 0) != 0, reason="the tests have another"),
]


def nice(thread: int = 0) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


def aside(work: Callable[[], T]) -> T:
    """What `work` gives in a thread of its own: a priority is a thread's."""
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(work).result()
        finally:
            relax()


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The run directory of a daemon that has ended while its wall stands."""
    (tmp_path / RECORD).touch()
    return tmp_path


def test_it_goes_first_until_it_has_what_it_needs(left: Path) -> None:
    def work() -> list[int]:
        found = [nice()]
        hurry(left)
        found.append(nice())
        with ThreadPoolExecutor(1) as pool:
            below = pool.submit(nice).result
            found.append(below())
            relax()
            found += [nice(), pool.submit(nice).result()]
        return found

    assert aside(work) == [0, -10, -10, 0, 0]


def test_a_first_start_waits_like_everybody(tmp_path: Path) -> None:
    assert aside(lambda: (hurry(tmp_path), nice())) == (False, 0)


def test_what_the_operator_chose_stays(left: Path) -> None:
    def work() -> tuple[bool, int]:
        os.setpriority(os.PRIO_PROCESS, 0, 5)
        hurried = hurry(left)
        relax()
        return hurried, nice()

    assert aside(work) == (False, 5)


def test_without_the_right_to_it_it_starts_all_the_same(
    left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(which: int, who: int, priority: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refused)

    assert aside(lambda: (hurry(left), nice())) == (False, 0)
