"""`--try`: it comes down by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dnsfw.server.trial import Trial


async def test_without_a_time_there_is_no_trial(tmp_path: Path) -> None:
    trial = Trial(None, lambda: None, tmp_path)
    trial.guard()
    trial.start(asyncio.get_running_loop())

    assert not trial.unconfirmed
    assert trial.left is None
    assert not trial.confirm()


async def test_it_says_how_long_it_has_left(tmp_path: Path) -> None:
    trial = Trial(60.0, lambda: None, tmp_path)
    assert trial.left is None
    assert trial.unconfirmed
    trial.start(asyncio.get_running_loop())

    assert trial.left is not None and 59 < trial.left <= 60
    assert trial.confirm()
    assert trial.left is None
    assert not trial.unconfirmed


async def test_its_end_undoes_everything(tmp_path: Path) -> None:
    undone = asyncio.Event()
    Trial(0.01, undone.set, tmp_path).start(asyncio.get_running_loop())

    async with asyncio.timeout(5):
        await undone.wait()
