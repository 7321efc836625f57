"""After a crash every command says what stands, not only that nobody answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.cli.left_wall import left_wall
from dnsfw.server.armed import mark_armed
from tests.support.commands import dnsfw


@pytest.mark.parametrize("command", ["grants", "flows", "reload", "watch"])
def test_a_command_says_that_the_wall_stands_and_what_to_do(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "abi1").mkdir()
    monkeypatch.setenv("DNSFW_PIN_DIR", str(tmp_path))

    done = dnsfw(command, "--run-dir", str(tmp_path))

    assert done.code == 3
    assert "the wall it left stands and opens nothing new" in done.err
    assert "`sudo dnsfw up` (with the same options) takes it over" in done.err


def test_where_nothing_is_left_it_is_not_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_PIN_DIR", str(tmp_path))

    assert left_wall(tmp_path) == (False, False, "")
    assert "start it: sudo dnsfw up" in dnsfw("grants", "--run-dir", str(tmp_path)).err


def test_another_run_directory_has_nothing_to_do_with_the_wall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "abi1").mkdir()
    monkeypatch.setenv("DNSFW_PIN_DIR", str(tmp_path))

    assert left_wall(tmp_path / "other") == (False, False, "")


def test_row_55_an_armed_wall_is_told_from_one_that_lost_its_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "abi1").mkdir()
    monkeypatch.setenv("DNSFW_PIN_DIR", str(tmp_path))
    mark_armed(tmp_path)

    left, armed, told = left_wall(tmp_path)

    assert left and armed and told.startswith("armed, no daemon")
