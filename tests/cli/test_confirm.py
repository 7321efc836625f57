"""`dnsfw confirm`."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import dnsfw_beside
from tests.support.running import running


async def test_a_trial_is_kept(tmp_path: Path) -> None:
    async with running(tmp_path, trial=60.0) as run:
        done = await dnsfw_beside("confirm", "--run-dir", str(run.run_dir))

        assert (done.code, done.out) == (0, "confirmed: the wall stays\n")
        assert run.daemon.trial.left is None


async def test_without_a_trial_it_is_a_mistake(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        done = await dnsfw_beside("confirm", "--run-dir", str(run.run_dir))

    assert done.code == 2
    assert "nothing to confirm" in done.err


async def test_a_second_confirm_does_not_say_that_there_never_was_a_trial(tmp_path: Path) -> None:
    async with running(tmp_path, trial=60.0) as run:
        await dnsfw_beside("confirm", "--run-dir", str(run.run_dir))
        done = await dnsfw_beside("confirm", "--run-dir", str(run.run_dir))

    assert (done.code, done.err) == (2, "dnsfw: nothing to confirm: no `up --try` waits for it\n")
