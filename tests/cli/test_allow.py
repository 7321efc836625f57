"""`dnsfw allow`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import dnsfw, dnsfw_beside
from tests.support.running import running


async def test_in_force_listed_and_ended(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        at = ("--run-dir", str(run.run_dir))
        begun = await dnsfw_beside("allow", "pypi.org:443", "10.0.0.0/8", "--for", "1h", *at)
        status = await dnsfw_beside("status", *at)
        ended = await dnsfw_beside("allow", "--end", "pypi.org:443", *at)
        rest = await dnsfw_beside("allow", "--end", "--json", *at)

    assert begun.out == "in force for 1h: allow pypi.org:443\nin force for 1h: allow 10.0.0.0/8\n"
    assert begun.err == ""
    assert "temporary  allow pypi.org:443, host, 59m59s left, by uid" in status.out
    assert ended.out == "ended: allow pypi.org:443\n"
    assert json.loads(rest.out) == {"temporary": ["allow 10.0.0.0/8"]}


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["x.example"], "for how long?"),
        (["x.example", "--for", "1h", "--end"], "not both"),
        (["x.example", "--for", "soon"], "is not a time"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, argv: list[str], told: str) -> None:
    done = dnsfw("allow", *argv, "--run-dir", str(tmp_path))

    assert done.code == 2 and told in done.err
