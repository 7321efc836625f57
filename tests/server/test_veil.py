"""Row 137: names in a log that is handed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.server.veil import CLEAR, Veil, is_veiled, read_key


def test_row_137_equal_names_look_equal_and_other_keys_make_others() -> None:
    mine, other = Veil(bytes(32)), Veil(bytes(31) + b"\1")

    assert mine.name("x.com") == mine.name("x.com") != mine.name("y.com")
    assert mine.name("x.com") != other.name("x.com")
    assert mine.name("10.0.0.1") != mine.address("10.0.0.1")
    assert is_veiled(mine.name("x.com")) and "x.com" not in mine.name("x.com")


def test_without_a_key_all_is_as_it_is() -> None:
    assert CLEAR.name("x.com") == "x.com" and CLEAR.address("::1") == "::1"
    assert not CLEAR and Veil(bytes(32))


def test_the_key_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    first = read_key(tmp_path)

    assert read_key(tmp_path) == first and len(first) == 32
    assert [path.name for path in tmp_path.iterdir()] == ["log.key"]
    assert (tmp_path / "log.key").stat().st_mode & 0o777 == 0o600


def test_two_installations_have_two_keys(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    assert read_key(tmp_path / "a") != read_key(tmp_path / "b")


@pytest.mark.parametrize("harm", ["open to all", "cut", "a link"])
def test_a_key_that_cannot_be_trusted_is_none(tmp_path: Path, harm: str) -> None:
    read_key(tmp_path)
    path = tmp_path / "log.key"
    if harm == "open to all":
        path.chmod(0o644)
    elif harm == "cut":
        path.write_bytes(b"short")
    else:
        path.rename(tmp_path / "other")
        path.symlink_to(tmp_path / "other")

    with pytest.raises(OSError):
        read_key(tmp_path)
