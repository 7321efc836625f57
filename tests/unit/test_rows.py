"""Every attack has a test of its name, or a sentence in the README's limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.rows import BEGIN, END, README, ROWS, numbers, rows_tested, table

LIMITS = (Path(__file__).resolve().parents[2] / "README.md").read_text()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"row {row}: {ROWS[row]}")
def test_every_row_has_a_test_or_is_an_admitted_limit(row: int) -> None:
    admitted = re.search(rf"\brow {row}\b", LIMITS)

    assert rows_tested()[row] or admitted


def test_the_table_in_the_readme_is_fresh() -> None:
    written = README.read_text().partition(BEGIN)[2].partition(END)[0]

    assert written == table(), "run: python -m tests.support.rows"


@pytest.mark.parametrize(
    ("test", "rows"),
    [
        ("test_row_01_a_hard_coded_address", [1]),
        ("test_row_07_and_08_each_datagram", [7, 8]),
        ("test_row_12_13_14_other_protocols", [12, 13, 14]),
        ("test_row_112_ten_thousand", [112]),
        ("test_row102_half_a_length_prefix", [102]),
        ("row 92", [92]),
    ],
)
def test_numbers_are_read_from_a_tests_name(test: str, rows: list[int]) -> None:
    assert numbers(test) == rows
