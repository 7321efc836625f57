"""Lines on stderr: safe, and never in anybody's way."""

from __future__ import annotations

import os

import pytest

from dnsfw.server.log import Level, Log


def written(journal: bool, *lines: str) -> str:
    read, write = os.pipe()
    log = Log(write, journal)
    for line in lines:
        log.line(Level.WARNING, line)
    log.close()
    os.close(write)
    with os.fdopen(read) as file:
        return file.read()


def test_the_journal_gets_priorities_and_no_time() -> None:
    assert written(True, "one", "two") == "<4>one\n<4>two\n"


def test_a_terminal_gets_the_time() -> None:
    assert written(False, "one")[2] == ":"
    assert written(False, "one").endswith(" one\n")


def test_row_134_one_line_stays_one_line() -> None:
    assert written(True, "a\n<0>forged\x1b[2J") == "<4>a\\010<0>forged\\027[2J\n"


def test_row_136_a_stuck_reader_stops_nobody() -> None:
    read, write = os.pipe()
    log = Log(write, True)

    for _ in range(5000):
        log.line(Level.INFO, "x" * 200)  # 1 MB into a pipe that nobody reads

    assert log.lost > 0
    os.close(read)
    log.close()
    os.close(write)


@pytest.mark.parametrize("journal", [True, False])
def test_a_terminal_that_went_away_is_survived(journal: bool) -> None:
    read, write = os.pipe()
    os.close(read)
    log = Log(write, journal)
    log.line(Level.INFO, "to nobody")

    log.close()
    os.close(write)
