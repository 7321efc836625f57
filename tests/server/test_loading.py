"""A policy on its way in: lists compiled elsewhere, tests passed, or it stays outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.lists import store
from dnsfw.server import loading
from tests.support.running import ALLOW_EXAMPLE, make, running

FAILS = ALLOW_EXAMPLE + "tests:\n  - allow: www.example.com:443\n  - allow: other.example:443\n"


async def test_a_reload_whose_tests_fail_is_refused_with_the_lines(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        before = run.daemon.reloader.policy
        run.policy.write_text(FAILS)
        _, last = await run.control("reload")

        assert last["exit"] == 2 and last["policy"]
        (line,) = last["error"].splitlines()
        told = "7:12: test fails: allow other.example:443/tcp: denied"
        assert line.startswith(f"{run.policy}:{told}")
        assert run.daemon.reloader.policy is before
        assert "test fails" in run.daemon.reloader.stale


async def test_tests_beside_the_policy_count_too(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        (tmp_path / "policy.test.yaml").write_text("tests: [{deny: 'www.example.com:443'}]\n")
        _, last = await run.control("reload")

        assert "policy.test.yaml:1:16: test fails: deny www.example.com:443" in last["error"]


async def test_a_start_whose_tests_fail_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"test fails: allow other\.example:443"):
        await make(tmp_path, policy=FAILS).daemon.run()


async def test_lists_are_compiled_by_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / "cache"))
    (tmp_path / "ads.txt").write_text("ads.example\n")
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\ndefault: allow\nrules: [{deny: {list: ads.txt}}]\n")

    await loading.warm(policy)

    assert list((tmp_path / "cache").glob("*.list"))
    compiled: list[object] = []
    monkeypatch.setattr(store, "_compiled", lambda *args: compiled.append(args))
    loading.load_tested(policy, {})
    assert not compiled


async def test_a_process_that_cannot_be_started_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "command", lambda path: (["/nonexistent/python"], {}))
    policy = tmp_path / "policy.yaml"
    policy.write_text("# list\n")

    await loading.warm(policy)
