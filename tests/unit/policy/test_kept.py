"""The compiled policy of the last start: found where a compilation would say the same, and only
there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dnsfw.policy import kept
from dnsfw.policy.compile import load
from dnsfw.policy.copies import ENVIRONMENT as STATE
from dnsfw.policy.lists.store import ENVIRONMENT as CACHE
from dnsfw.policy.policy import Policy

TEXT = """\
version: 1
default: deny
rules:
  - allow: www.example.com
  - deny: {list: ads.txt}
roles:
  web: {subjects: [{uid: 4241}], rules: [{allow: a.example}]}
"""
PART = "rules: [{allow: part.example}]\n"


@pytest.fixture(name="file")
def policy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "policy.d" / "10-more.yaml").write_text(PART)
    (tmp_path / "policy.test.yaml").write_text("tests: [{allow: 'www.example.com:443'}]\n")
    (tmp_path / "ads.txt").write_text("ads.example\n")
    file = tmp_path / "policy.yaml"
    file.write_text(TEXT)
    return file


def keep(file: Path) -> Policy:
    before = kept.texts_now(file)
    policy = replace(load(file), tests=())
    assert kept.keep(file, policy, before) is not None
    return policy


def only(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "cache").glob("*.policy")
    return found


def test_it_is_found_again(file: Path) -> None:
    policy = keep(file)

    again = kept.recall(file, policy.role_ids)

    assert again is not None and again.plan() == policy.plan()
    assert kept.recall(file, {}) is not None  # as a compilation would number them


def test_roles_that_have_other_numbers_by_now_are_compiled_anew(file: Path) -> None:
    policy = keep(file)
    (number,) = policy.role_ids.values()

    assert kept.recall(file, {"web": number + 1}) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda home: (home / "policy.yaml").write_text(TEXT.replace("a.example", "b.example")),
        lambda home: (home / "policy.d" / "10-more.yaml").write_text(PART.replace("t.e", "t2.e")),
        lambda home: (home / "policy.d" / "20-new.yaml").write_text(PART),
        lambda home: (home / "policy.d" / "10-more.yaml").unlink(),
        lambda home: (home / "policy.test.yaml").write_text("tests: []\n"),
        lambda home: (home / "policy.test.yaml").unlink(),
        lambda home: (home / "ads.txt").write_text("bad.example\n"),
        lambda home: (home / "ads.txt").unlink(),
        lambda home: (home / "policy.yaml").unlink(),
        lambda home: [path.unlink() for path in (home / "cache").glob("*.list")],
    ],
)  # fmt: skip
def test_whatever_it_was_made_of_changes_it_counts_no_more(
    change: Callable[[Path], object], file: Path
) -> None:
    keep(file)
    change(file.parent)

    assert kept.recall(file, {}) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="files of others are root's concern")
def test_a_text_that_somebody_else_could_write_by_now_is_compiled_and_refused(file: Path) -> None:
    keep(file)
    file.chmod(0o666)

    assert kept.recall(file, {}) is None


def test_other_code_compiles_anew(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(file)
    monkeypatch.setattr(kept, "_same_file", lambda *_: False)

    assert kept.recall(file, {}) is None


def test_other_classes_compile_anew(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(file)
    monkeypatch.setattr(kept, "shape", lambda: b"other")

    assert kept.recall(file, {}) is None


def test_a_file_that_was_changed_or_cut_counts_no_more(file: Path, tmp_path: Path) -> None:
    keep(file)
    whole = only(tmp_path).read_bytes()
    for data in (whole[:-1], whole[:20], b"", whole[:100] + b"\0" + whole[101:], b"x" + whole[1:]):
        only(tmp_path).write_bytes(data)

        assert kept.recall(file, {}) is None


def test_a_poisoned_file_counts_no_more(file: Path, tmp_path: Path) -> None:
    """A whole file with a right seal: who wrote it decides, not what it says."""
    keep(file)
    place = only(tmp_path)
    place.chmod(0o640)
    assert kept.recall(file, {}) is None
    place.chmod(0o600)
    assert kept.recall(file, {}) is not None

    place.parent.chmod(0o777)
    assert kept.recall(file, {}) is None
    place.parent.chmod(0o700)

    target = place.rename(tmp_path / "elsewhere")
    place.symlink_to(target)
    assert kept.recall(file, {}) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_of_somebody_else_counts_no_more(file: Path, tmp_path: Path) -> None:
    keep(file)
    os.chown(only(tmp_path), 4242, -1)
    assert kept.recall(file, {}) is None
    os.chown(only(tmp_path), 0, -1)
    assert kept.recall(file, {}) is not None
    os.chown(tmp_path / "cache", 4242, -1)
    assert kept.recall(file, {}) is None


def test_it_is_its_owners_alone(file: Path, tmp_path: Path) -> None:
    keep(file)

    assert only(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_text_that_changed_while_it_was_compiled_is_not_kept(file: Path, tmp_path: Path) -> None:
    before = kept.texts_now(file)
    policy = load(file)
    file.write_text(TEXT + "# more\n")
    kept.keep(file, policy, before)

    assert not list((tmp_path / "cache").glob("*.policy"))


def test_no_more_than_a_few_are_kept(file: Path, tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"p{number}.yaml").write_text("version: 1\ndefault: deny\n")
        keep(tmp_path / f"p{number}.yaml")

    assert len(list((tmp_path / "cache").glob("*.policy"))) == 8


def test_a_directory_that_cannot_be_written_costs_only_time(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE, "/proc/nowhere")
    file.write_text("version: 1\ndefault: deny\n")
    keep(file)

    assert kept.recall(file, {}) is None
    kept.forget(file)
