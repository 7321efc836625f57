"""The jobs of whoever reads policy files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy import kept
from dnsfw.policy.compile import load
from dnsfw.policy.digest import digest
from dnsfw.policy.frozen import thaw
from dnsfw.policy.lists import store
from dnsfw.server.compile_jobs import FROZEN_JOBS, JOBS

POLICY = "version: 1\nrevision: 3\ndefault: allow\nrules: [{deny: {list: ads.txt}}]\n"
TESTS = "tests: [{deny: 'ads.example:443'}]\n"


@pytest.fixture(name="file")
def policy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.ENVIRONMENT, str(tmp_path / "cache"))
    (tmp_path / "ads.txt").write_text("ads.example\n")
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY + TESTS)
    return file


def test_a_policy_whose_tests_pass_is_kept_for_the_next_start(file: Path) -> None:
    policy = thaw(FROZEN_JOBS["load"](file, {}, None, False))

    assert policy.tests == () and digest(policy) == digest(load(file))
    assert kept.recall(file, {}) is not None
    assert not list((file.parent / "cache").glob("*.names"))


def test_a_policy_whose_tests_fail_is_not(file: Path) -> None:
    file.write_text(POLICY + TESTS.replace("deny", "allow"))

    with pytest.raises(PolicyError, match="test fails"):
        FROZEN_JOBS["load"](file, {}, None, False)
    assert kept.recall(file, {}) is None


def test_proposals_are_not_kept(file: Path) -> None:
    """A policy with proposals of copies may be dropped again."""
    FROZEN_JOBS["load"](file, {}, (str(file.parent / "remote"), frozenset({"x"})), False)

    assert kept.recall(file, {}) is None


def test_texts_that_are_in_force_are_renewed_without_their_files(file: Path) -> None:
    texts = load(file).texts
    file.unlink()

    policy = thaw(FROZEN_JOBS["renew"](texts, {}, (str(file.parent / "remote"), frozenset())))

    assert policy.revision == 3 and policy.texts == texts


def test_what_is_asked_of_texts_alone(file: Path) -> None:
    assert JOBS["sources"](file, None) == ()
    assert JOBS["revision"](file, None) == 3
    assert JOBS["settings"](file, None).refuse == "nxdomain"
