"""Which loop runs."""

from __future__ import annotations

import asyncio
import builtins
import gc
import resource
import sys
from typing import Any

import pytest

from dnsfw.server.loop import (
    answers_first,
    calm_collector,
    loop_name,
    only_young,
    raise_file_limit,
    run,
)


async def which() -> str:
    return loop_name(asyncio.get_running_loop())


def test_uvloop_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")

    assert run(which()) == "uvloop"


def test_asyncio_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "uvloop":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)

    assert run(which()) == "asyncio"


def test_the_descriptor_limit_goes_up_and_never_down() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        raise_file_limit()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise_file_limit()

        assert raised >= min(16384, hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("may", [True, False])
def test_a_hard_limit_goes_up_where_we_may(monkeypatch: pytest.MonkeyPatch, may: bool) -> None:
    """`ulimit -n 64` sets both, and the tables alone are more."""
    limit = (64, 64)

    def put(_: int, wanted: tuple[int, int]) -> None:
        nonlocal limit
        if wanted[1] > limit[1] and not may:
            raise ValueError("not allowed to raise maximum limit")
        limit = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: limit)
    monkeypatch.setattr(resource, "setrlimit", put)

    raise_file_limit()

    assert limit == ((16384, 16384) if may else (64, 64))


def test_full_collections_become_rare_and_leave_out_what_is_there_already() -> None:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)  # as Python starts
    try:
        calm_collector()

        young, few, all_of_it = gc.get_threshold()
        assert young * few <= 1_000, "at one time"
        assert young * few * all_of_it >= 10_000_000
        assert gc.get_freeze_count() > 0
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def test_a_start_looks_at_nothing_but_what_it_made_just_now() -> None:
    before = gc.get_threshold()
    try:
        only_young()

        young, few, all_of_it = gc.get_threshold()
        assert young * few >= 1_000_000, "objects until more than the young are looked at"
        assert all_of_it >= 1_000
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)


def test_a_thread_that_computes_hands_over_before_an_answer_is_late() -> None:
    before = sys.getswitchinterval()
    try:
        answers_first()

        assert sys.getswitchinterval() <= 0.001
    finally:
        sys.setswitchinterval(before)
