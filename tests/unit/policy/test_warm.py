"""Lists compiled by a process of their own, before anybody needs them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dnsfw.policy.lists import store
from dnsfw.policy.warm import command, has_lists

POLICY = "version: 1\ndefault: allow\nrules: [{deny: {list: ads.txt}}]\n"


def policy(tmp_path: Path) -> Path:
    (tmp_path / "ads.txt").write_text("ads.example\n")
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


def test_afterwards_the_compiled_list_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv(store.ENVIRONMENT, str(cache))
    argv, environment = command(policy(tmp_path))

    done = subprocess.run(argv, env=environment, capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list(cache.glob("*.list"))) == 1


def test_what_is_wrong_is_not_its_news(tmp_path: Path) -> None:
    argv, environment = command(tmp_path / "missing.yaml")

    done = subprocess.run(argv, env=environment, capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, b"")


def test_only_a_policy_that_may_have_lists_is_worth_a_process(tmp_path: Path) -> None:
    file = policy(tmp_path)
    assert has_lists(file)

    file.write_text("version: 1\ndefault: deny\n")
    assert not has_lists(file)
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "policy.d" / "x.yaml").write_text("rules: [{allow: {list: x}}]")
    assert has_lists(file)
    assert not has_lists(tmp_path / "missing.yaml")
