"""Row 137: no line lives longer than the retention. Row 136: a disk without room."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnsfw.server.asklog_file import LIVE, LogFiles

HOUR = 3600
NOW = 1_800_000_000.0


def line(at: float, size: int = 0) -> str:
    return json.dumps({"at": at, "x": "y" * size}) + "\n"


def times(directory: Path) -> list[float]:
    return sorted(
        json.loads(text)["at"]
        for path in directory.glob("names*.jsonl")
        for text in path.read_text().splitlines()
    )


def test_lines_are_appended_for_the_owner_and_his_group_alone(tmp_path: Path) -> None:
    files = LogFiles(tmp_path / "log", HOUR, 1 << 20)
    files.append(line(NOW), NOW)
    files.append(line(NOW + 1), NOW + 1)

    assert times(tmp_path / "log") == [NOW, NOW + 1]
    assert (tmp_path / "log" / LIVE).stat().st_mode & 0o137 == 0


def test_row_137_no_line_lives_longer_than_the_retention(tmp_path: Path) -> None:
    files, now = LogFiles(tmp_path, HOUR, 1 << 20), NOW
    for _ in range(300):
        files.append(line(now), now)
        now += 60
        files.prune(now)
        kept = times(tmp_path)
        assert not kept or now - kept[0] <= HOUR
    assert len(times(tmp_path)) > 40, "nothing was kept"
    files.close()

    LogFiles(tmp_path, HOUR, 1 << 20).prune(now + 2 * HOUR)
    assert times(tmp_path) == [], "what an earlier process left stayed"


def test_row_137_all_files_together_are_no_larger_than_the_limit(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, 400 * HOUR, 1 << 20)
    for n in range(300):
        files.append(line(NOW + n, 10_000), NOW + n)
        files.prune(NOW + n)

    total = sum(path.stat().st_size for path in tmp_path.glob("names*"))
    assert 700_000 < total <= (1 << 20) + 20_000
    assert times(tmp_path)[-1] == NOW + 299, "the newest went"


def test_a_line_that_was_torn_is_ended_before_the_next(tmp_path: Path) -> None:
    (tmp_path / LIVE).write_text(line(NOW) + '{"at": 18000')
    LogFiles(tmp_path, HOUR, 1 << 20).append(line(NOW + 1), NOW + 1)

    whole = (tmp_path / LIVE).read_text().splitlines()
    assert whole[1] == '{"at": 18000' and json.loads(whole[2])["at"] == NOW + 1


def test_row_136_a_disk_without_room_is_an_error_and_no_more(tmp_path: Path) -> None:
    (tmp_path / LIVE).symlink_to("/dev/full")
    with pytest.raises(OSError):  # a link is not followed, whatever it leads to
        LogFiles(tmp_path, HOUR, 1 << 20).append(line(NOW), NOW)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OSError):
        LogFiles(blocked / "log", HOUR, 1 << 20).append(line(NOW), NOW)


def test_a_clock_that_was_set_back_starts_a_file_of_its_own(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, HOUR, 1 << 20)
    files.append(line(NOW), NOW)
    files.append(line(NOW - 9000), NOW - 9000)

    assert len(list(tmp_path.glob("names*.jsonl"))) == 2


def test_what_is_no_log_of_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "names-old.txt").write_text("x")
    (tmp_path / "names-9.jsonl").mkdir()
    LogFiles(tmp_path, HOUR, 1 << 20).prune(NOW * 2)

    assert {path.name for path in tmp_path.iterdir()} == {"names-old.txt", "names-9.jsonl"}
