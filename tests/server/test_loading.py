"""A policy on its way in: lists compiled elsewhere, tests passed, or it stays outside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import HOST, RuleId, Verdict
from dnsfw.policy.lists import store
from dnsfw.policy.rule import Rule, Ttl
from dnsfw.policy.temporary import Wanted
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


def test_a_temporary_rule_is_read_once_unless_its_number_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, done = list[object](), loading._done

    def spy(job: str, *arguments: Any, hurry: bool) -> Any:
        asked.append(arguments)
        return done(job, *arguments, hurry=hurry)

    monkeypatch.setattr(loading, "_done", spy)
    monkeypatch.setattr(loading, "_made", {})
    said = Wanted("deny", "EXAMPLE.com", HOST, "host for a time", Verdict.DENY, Ttl())
    written = replace(said, to="example.com")

    (one,) = loading.make_rules([said], frozenset())
    again = loading.make_rules([written], frozenset({RuleId(1)}))
    assert list(again) == [one] and len(asked) == 1

    assert isinstance(one, Rule)
    (other,) = loading.make_rules([written], frozenset({one.id}))
    assert isinstance(other, Rule) and other.id != one.id and len(asked) == 2
    assert list(loading.make_rules([written], frozenset())) == [one], "its own number stays"
    assert len(loading.make_rules([written, written], frozenset())) == 2 and len(asked) == 3
