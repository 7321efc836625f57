"""Files of the operator: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.cli.write import write_whole
from dnsfw.errors import ConfigError


def test_a_file_is_replaced_whole_and_is_for_nobody_else_to_change(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")

    write_whole(path, "new")

    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


def test_a_place_that_is_not_there_is_the_operators_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        write_whole(tmp_path / "no" / "f", "x")
