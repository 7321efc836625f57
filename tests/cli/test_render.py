"""Tables, times, counts."""

from __future__ import annotations

import sys

import pytest

from dnsfw.cli.render import counts, duration, seconds_of, table
from dnsfw.errors import ConfigError


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"), (59, "59s"), (60, "1m00s"), (185, "3m05s"), (3599, "59m59s"),
        (3600, "1h00m"), (7620, "2h07m"), (86400, "1d00h"), (442800, "5d03h"), (59.9, "59s"),
    ],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("5m", 300), ("1h", 3600), ("90", 90), ("2d", 172800)]
)
def test_times_are_read_with_or_without_a_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "s", "1w", "-5s", "1.5m", "60 s", "99999999"])
def test_what_is_no_time_is_a_mistake(text: str) -> None:
    with pytest.raises(ConfigError, match="60s"):
        seconds_of(text)


def test_columns_are_as_wide_as_they_need() -> None:
    assert table(("A", "LONG", "C"), [("1", "2", "3"), ("1111", "2", "3")]) == (
        "A     LONG  C\n1     2     3\n1111  2     3"
    )


def test_a_given_width_cuts_the_last_column() -> None:
    assert table(("A", "B"), [("1", "x" * 50)], width=20).splitlines()[1] == "1  " + "x" * 16 + "…"


def test_a_pipe_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)

    assert "x" * 500 in table(("A",), [("x" * 500,)])


def test_numbers_agree_with_their_nouns() -> None:
    assert counts(1, "grant") == "1 grant"
    assert counts(0, "grant") == "0 grants"
    assert counts(2, "entry", "entries") == "2 entries"
