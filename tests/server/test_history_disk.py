"""The history on disk: over restarts and kills, within its bounds, whatever the file holds."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnsfw.server.history_disk import (
    FILE,
    HistoryDisk,
    Kept,
    KeptEvent,
    KeptLearnt,
    KeptRefusals,
)
from dnsfw.server.who_asks import Who

DAY = 86_400
NOW = 1_800_000_000.0


def learnt(name: str, address: str = "192.0.2.7", at: float = NOW) -> KeptLearnt:
    chain = ("edge.example",)
    return KeptLearnt("host", name, address, "allow .com", chain, at, at, 1, Who("10.0.0.2", "udp"))


def refused(what: str, at: float = NOW, asker: Who | str = "") -> KeptRefusals:
    return KeptRefusals("host", what, "name-default", "", at, at, 1, asker)


def disk(
    directory: Path, *, now: float = NOW, rows: int = 1000, veiled: bool = False
) -> HistoryDisk:
    return HistoryDisk(
        directory, DAY, lambda who: f"by {who.address}", veiled=veiled, rows=rows, wall=lambda: now
    )


def keep(directory: Path, *rows: Kept) -> HistoryDisk:
    kept = disk(directory)
    for row in rows:
        kept.put(row)
    kept.close()
    return kept


def test_what_was_learnt_is_there_after_a_restart(tmp_path: Path) -> None:
    keep(tmp_path, learnt("www.x.com"), learnt("www.x.com", at=NOW + 5))

    again = disk(tmp_path)
    (by_name,) = again.learnt("host", "name", "www.x.com", 10)

    assert (by_name.first, by_name.last, by_name.times) == (NOW, NOW + 5, 2)
    assert (by_name.chain, by_name.asker) == (("edge.example",), "by 10.0.0.2")
    assert again.learnt("host", "address", "192.0.2.7", 10) == [by_name]
    assert again.learnt("host", "name", "edge.example", 10) == [by_name]
    assert again.learnt("web", "name", "www.x.com", 10) == []
    again.close()


def test_refusals_are_counted_over_restarts_and_keep_who_asked(tmp_path: Path) -> None:
    keep(tmp_path, refused("bad.example", asker="by dig"))
    kept = keep(tmp_path, refused("bad.example", NOW + 9))

    found = kept.refused("host", "bad.example")

    assert found is not None
    assert (found.count, found.first, found.last, found.asker) == (2, NOW, NOW + 9, "by dig")


def test_the_numbers_of_events_go_on(tmp_path: Path) -> None:
    keep(tmp_path, KeptEvent(41, NOW, "host", {"kind": "refused", "name": "bad.example"}))

    again = disk(tmp_path)

    assert again.last_event == 41
    event = again.event(41)
    assert event is not None and event.row["name"] == "bad.example"
    assert again.event(42) is None
    again.close()


def test_it_survives_kill_9(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.server.test_history_disk import disk, learnt\n"
        "kept = disk(Path(sys.argv[1]))\n"
        "for n in range(500):\n"
        "    kept.put(learnt(f'n{n}.x.com'))\n"
        "while len(kept.learnt('host', 'address', '192.0.2.7', 900)) < 100:\n"
        "    time.sleep(0.01)\n"
        "print('kept', flush=True)\n"
        "while True:\n"
        "    kept.put(learnt('last.x.com'))\n"
        "    time.sleep(0.001)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == "kept\n"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()

    again = disk(tmp_path)

    assert len(again.learnt("host", "address", "192.0.2.7", 900)) >= 100
    assert again.wrong == ""
    again.close()


@pytest.mark.parametrize("harm", ["no database", "cut", "overwritten", "of another version"])
def test_a_damaged_file_is_put_aside_and_begun_anew(tmp_path: Path, harm: str) -> None:
    keep(tmp_path, *(learnt(f"n{n}.x.com") for n in range(200)))
    file = tmp_path / FILE
    if harm == "no database":
        file.write_text("something else " * 1000)
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 + 100])
    elif harm == "overwritten":
        data = bytearray(file.read_bytes())
        data[4096:] = b"\xa5" * (len(data) - 4096)
        file.write_bytes(data)
    else:
        with sqlite3.connect(file) as database:
            database.execute("pragma user_version = 77")

    kept = keep(tmp_path, learnt("new.x.com"))

    assert len(kept.learnt("host", "name", "new.x.com", 10)) == 1
    assert (tmp_path / FILE).with_suffix(".damaged").exists()


def test_row_137_it_is_the_owners_alone_and_forgets_in_time(tmp_path: Path) -> None:
    keep(tmp_path, learnt("old.x.com"), refused("bad.example"), learnt("new.x.com", at=NOW + DAY))
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0

    later = disk(tmp_path, now=NOW + DAY + 10)
    later.close()

    assert later.learnt("host", "name", "old.x.com", 10) == []
    assert later.refused("host", "bad.example") is None
    assert len(later.learnt("host", "name", "new.x.com", 10)) == 1


def test_it_holds_so_many_rows_of_each_kind_the_latest(tmp_path: Path) -> None:
    rows: list[Kept] = [learnt(f"n{n}.x.com", at=NOW + n) for n in range(100)]
    rows += [refused(f"n{n}.x.com", NOW + n) for n in range(100)]
    rows += [KeptEvent(n + 1, NOW + n, "host", {}) for n in range(100)]
    keep(tmp_path, *rows)
    small = disk(tmp_path, rows=10)
    small.close()

    assert small.learnt("host", "name", "n89.x.com", 1) == []
    assert len(small.learnt("host", "address", "192.0.2.7", 200)) == 10
    assert small.refused("host", "n89.x.com") is None and small.refused("host", "n90.x.com")
    assert small.event(90) is None and small.event(91) is not None


def test_row_137_names_in_clear_do_not_stay_beside_veiled_ones(tmp_path: Path) -> None:
    keep(tmp_path, learnt("secret.x.com"))
    veiled = disk(tmp_path, veiled=True)
    veiled.put(learnt("h:0123456789"))
    veiled.close()

    assert veiled.learnt("host", "name", "secret.x.com", 10) == []
    assert all(b"secret" not in path.read_bytes() for path in tmp_path.iterdir())
    assert len(veiled.learnt("host", "name", "h:0123456789", 10)) == 1


def test_row_136_a_disk_that_takes_nothing_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfw.server.history_disk._PAUSE", 0.01)
    (tmp_path / "file").write_text("")
    kept = disk(tmp_path / "file")
    for n in range(10_000):
        kept.put(learnt(f"n{n}.x.com"))
    kept.close()

    assert kept.lost >= 9_000 and kept.wrong
    assert kept.learnt("host", "name", "n1.x.com", 10) == []


def test_row_136_a_full_disk_loses_rows_and_later_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfw.server.history_disk._PAUSE", 0.01)
    kept = disk(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as database:  # the file itself says when it is full
        database.execute("create trigger full before insert on learnt when new.name like 'a%' "
                         "begin select raise(abort, 'database or disk is full'); end")  # fmt: skip
    kept.put(learnt("a.x.com"))
    deadline = time.monotonic() + 10
    while not kept.lost:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    told = kept.wrong
    kept.put(learnt("b.x.com"))
    kept.close()

    assert told == "database or disk is full" and kept.lost == 1
    assert not (tmp_path / FILE).with_suffix(".damaged").exists()
    assert len(kept.learnt("host", "name", "b.x.com", 10)) == 1
