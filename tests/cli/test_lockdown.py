"""`dnsfw lockdown`."""

from __future__ import annotations

import json
from pathlib import Path

from dnsfw.model import Lockdown
from tests.support.commands import dnsfw, dnsfw_beside
from tests.support.running import running


async def test_on_hard_off(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        at = ("--run-dir", str(run.run_dir))
        on = await dnsfw_beside("lockdown", "on", *at)
        assert run.kernel.sink.locked is Lockdown.ON
        hard = await dnsfw_beside("lockdown", "on", "--hard", "--json", *at)
        assert run.kernel.sink.locked is Lockdown.HARD
        off = await dnsfw_beside("lockdown", "off", *at)
        assert run.kernel.sink.locked is Lockdown.OFF

    assert on.out == "lockdown is on\n"
    assert json.loads(hard.out) == {"lockdown": "hard"}
    assert off.out == "lockdown is off\n"


def test_a_hard_end_is_a_mistake(tmp_path: Path) -> None:
    done = dnsfw("lockdown", "off", "--hard", "--run-dir", str(tmp_path))

    assert done.code == 2
    assert "--hard goes with" in done.err
