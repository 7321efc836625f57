"""Rows 124-126: which file is read, and which is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.policy import files
from dnsfw.policy.compile import load
from dnsfw.policy.files import find_policy, read_policy, shipped

TEXT = "version: 1\ndefault: deny\n"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT)
    path.chmod(0o644)
    return path


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch, policy: Path) -> None:
    """Judge as root does; the file must be root's for the good case."""
    if os.getuid() != 0:
        pytest.skip("needs files that belong to root")


@pytest.mark.parametrize("place", [".", "/", ".."])
def test_a_directory_is_no_policy_and_that_is_said(place: str) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load(Path(place))


def test_the_look_up_goes_from_explicit_to_shipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, policy: Path
) -> None:
    monkeypatch.setattr(files, "SYSTEM_POLICY", policy)
    monkeypatch.setenv("DNSFW_POLICY", str(tmp_path / "env.yaml"))

    assert find_policy("x.yaml") == Path("x.yaml")
    assert find_policy() == tmp_path / "env.yaml"
    monkeypatch.delenv("DNSFW_POLICY")
    assert find_policy(None) == policy
    monkeypatch.setattr(files, "SYSTEM_POLICY", tmp_path / "missing.yaml")
    assert find_policy() == shipped() / "starter.yaml"


def test_the_shipped_starter_can_be_loaded() -> None:
    load(shipped() / "starter.yaml")


def test_a_missing_file_is_the_operators_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        read_policy(tmp_path / "none.yaml")


def test_a_directory_a_device_and_a_fifo_are_no_policies(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    for path in (tmp_path, Path("/dev/null"), Path("/dev/zero"), fifo):
        with pytest.raises(ConfigError):
            read_policy(path)


def test_row_125_a_file_has_a_size(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 1 << 20)
    policy.write_text("#" * (1 << 20))
    assert len(read_policy(policy)) == 1 << 20

    policy.write_text("#" * ((1 << 20) + 1))
    with pytest.raises(PolicyError, match="larger than 1 MiB"):
        read_policy(policy)


def test_what_is_not_utf_8_says_in_which_line(policy: Path) -> None:
    policy.write_bytes(b"version: 1\nnote: \xff\n")

    with pytest.raises(PolicyError, match=r"policy\.yaml:2: not UTF-8"):
        read_policy(policy)


def test_a_byte_order_mark_is_skipped(policy: Path) -> None:
    policy.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())

    assert read_policy(policy) == TEXT


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o777])
def test_row_126_a_file_that_others_may_write_is_refused(
    as_root: None, policy: Path, mode: int
) -> None:
    policy.chmod(mode)

    with pytest.raises(PolicyError, match="chmod go-w"):
        read_policy(policy)
    policy.chmod(mode & ~0o022)
    assert read_policy(policy) == TEXT


def test_row_126_a_file_of_somebody_else_is_refused(as_root: None, policy: Path) -> None:
    os.chown(policy, 1234, 1234)

    with pytest.raises(PolicyError, match=r"belongs to uid 1234.*chown root"):
        read_policy(policy)


def test_row_126_a_link_to_a_users_file_is_refused(
    as_root: None, policy: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(policy)
    assert read_policy(link) == TEXT

    os.chown(policy, 1234, 1234)
    with pytest.raises(PolicyError, match="uid 1234"):
        read_policy(link)


def test_row_126_a_users_link_to_a_good_file_is_refused(
    as_root: None, policy: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(policy)
    os.chown(link, 1234, 1234, follow_symlinks=False)

    with pytest.raises(PolicyError, match="reads its own links only"):
        read_policy(link)


def test_row_126_the_data_links_of_kubernetes_are_followed(tmp_path: Path) -> None:
    first = tmp_path / "..2026_01"
    first.mkdir()
    (first / "policy.yaml").write_text(TEXT)
    (first / "policy.yaml").chmod(0o644)
    (tmp_path / "..data").symlink_to(first.name)
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")

    assert read_policy(tmp_path / "policy.yaml") == TEXT


def test_without_root_ownership_is_not_asked(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy.chmod(0o666)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert read_policy(policy) == TEXT


def test_row_124_a_half_written_file_is_an_error_with_a_place(policy: Path) -> None:
    policy.write_text('version: 1\ndefault: deny\nrules:\n  - allow: "x.co')

    with pytest.raises(PolicyError, match=r"policy\.yaml:4:"):
        load(policy)
