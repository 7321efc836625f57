from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnsfw.cli.seen_files import Logs
from dnsfw.errors import ConfigError


def line(name: str, count: int = 1, verdict: str = "allow") -> str:
    return json.dumps({"name": name, "verdict": verdict, "count": count}) + "\n"


def test_a_directory_is_read_whole_and_equal_lines_are_added_up(tmp_path: Path) -> None:
    (tmp_path / "names-100.jsonl").write_text(line("x.com", 3) + line("y.com"))
    (tmp_path / "names.jsonl").write_text(line("x.com", 4) + line("x.com", 1, "deny"))
    (tmp_path / "log.key").write_bytes(b"k")

    logs = Logs.read([str(tmp_path)])

    assert sorted((seen.asked.text, seen.was.name, n) for seen, n in logs.seen.values()) == [
        ("x.com", "ALLOW", 7), ("x.com", "DENY", 1), ("y.com", "ALLOW", 1),
    ]  # fmt: skip
    assert logs.lines == 4


def test_what_was_left_out_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(line("x.com") + line("h:00") + "{torn\n")

    assert list(Logs.read([str(path)]).notes()) == [
        f"not judged: 1 hashed line, 1 damaged line ({path}:3)"
    ]


@pytest.mark.parametrize("text", ["", "{\n", line("h:00"), '{"kind": "reload"}\n', "\xff\n"])
def test_a_log_that_says_nothing_is_a_mistake(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)

    with pytest.raises(ConfigError, match="no line says what was asked"):
        Logs.read([str(path)])


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Logs.read([str(tmp_path / "none")])
    with pytest.raises(ConfigError, match=r"no names\.jsonl in this directory"):
        Logs.read([str(tmp_path)])
