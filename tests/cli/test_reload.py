"""`dnsfw reload`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import dnsfw_beside
from tests.support.https import Ca, Https
from tests.support.nanodns import NanoDns
from tests.support.running import ALLOW_EXAMPLE, running


async def test_the_difference_is_printed(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.policy.write_text(ALLOW_EXAMPLE + "  - allow: other.example:443\n")
        done = await dnsfw_beside("reload", "--run-dir", str(run.run_dir))

    assert done.code == 0
    assert done.out == (f"+ allow other.example:443\nin force: {run.policy} (1 change)\n")


async def test_a_file_that_says_the_same_is_told_as_unchanged(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.policy.write_text(f"# the same\n{ALLOW_EXAMPLE}")
        done = await dnsfw_beside("reload", "--run-dir", str(run.run_dir))
        said = run.log.text

    assert done.code == 0
    assert done.out == f"in force: {run.policy} (unchanged)\n"
    assert "the policy is unchanged" in said and "a new policy" not in said


async def test_a_list_that_is_another_is_a_change(tmp_path: Path) -> None:
    names = tmp_path / "ads.txt"
    names.write_text("one.example\n")
    text = "version: 1\ndefault: allow\nrules: [deny: {list: ads.txt}]\n"
    async with running(tmp_path, policy=text) as run:
        names.write_text("one.example\ntwo.example\n")
        done = await dnsfw_beside("reload", "--run-dir", str(run.run_dir))
        said = run.log.text

    assert done.out == (
        "~ deny list ads.txt: its file has changed, 1 -> 2 entries\n"
        f"in force: {run.policy} (1 change)\n"
    )
    assert "a new policy is in force" in said


async def test_mistakes_are_listed_and_exit_is_2(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.policy.write_text("version: 1\ndefault: maybe\nruels: []\n")
        done = await dnsfw_beside("reload", "--run-dir", str(run.run_dir))

    assert done.code == 2
    assert done.out == ""
    assert f"{run.policy}:2:" in done.err
    assert f"{run.policy}:3:" in done.err
    assert "the policy before it stays in force" in done.err


async def test_json_has_the_changes(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        done = await dnsfw_beside("reload", "--json", "--run-dir", str(run.run_dir))

    assert json.loads(done.out) == {"policy": str(run.policy), "changes": [], "warnings": [],
                                    "failed": []}  # fmt: skip


async def test_a_fetch_that_failed_is_told_with_what_stays_and_exit_is_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_STATE_DIR", str(tmp_path / "state"))
    ca = Ca.make(tmp_path / "ca")
    with Https(ca) as site:
        url = site.put("/ads.txt", "a.example\n")
        rule = {"deny": {"list": url, "ca": str(ca.file)}}
        text = json.dumps({"version": 1, "default": "allow", "rules": [rule]})
        async with NanoDns() as dns:
            dns.zone["localhost", "A"] = ["127.0.0.1"]
            async with running(tmp_path, [dns.endpoint], text) as run:
                words = ("reload", "--fetch", "--run-dir", str(run.run_dir))
                good = await dnsfw_beside(*words)
                del site.pages["/ads.txt"]
                bad, row = await dnsfw_beside(*words), await dnsfw_beside(*words, "--json")

    assert good.code == 0, good.err
    assert bad.code == row.code == 1
    assert bad.err == (
        f"{url}: the server says 404 Not Found; the last good one stays in force\n"
        "dnsfw: not fetched: 1 source\n"
    )
    assert f"in force: {run.policy}" in bad.out, "the file itself is"
    assert json.loads(row.out)["failed"] == bad.err.splitlines()[:1]
