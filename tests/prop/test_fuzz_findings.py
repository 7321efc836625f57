"""What the fuzzer begins with and what it once found: no exception, and time that grows with size.

`sudo contrib/test --fuzz` adds to tests/data/fuzz; each input there is a case here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.growth import STEEPEST, TIMES, steepness
from tests.fuzz.targets import TARGETS, findings

FOUND = [(name, path) for name in TARGETS for path in findings(name)]
GROWING = [name for name, target in TARGETS.items() if target.grows]


@pytest.mark.parametrize("name", TARGETS)
def test_each_reader_takes_what_fuzzing_begins_with(name: str) -> None:
    target = TARGETS[name]

    for seed in target.seeds:
        target.run(seed)
        for word in target.words:
            for at in range(0, len(seed), 7):
                target.run(seed[:at] + word + seed[at:])
                target.run(seed[:at] + word)


@pytest.mark.parametrize(("name", "path"), FOUND, ids=lambda value: getattr(value, "name", value))
def test_what_was_too_much_once_is_read(name: str, path: Path) -> None:
    target = TARGETS[name]
    data = path.read_bytes()

    target.run(data)

    if target.grows and data:
        assert steepness(target.run, data) <= STEEPEST


@pytest.mark.parametrize("name", GROWING)
def test_row_130_no_reader_takes_more_than_its_share_for_more_of_the_same(name: str) -> None:
    target = TARGETS[name]
    for piece in (*target.seeds, *target.words):
        assert steepness(target.run, piece) <= STEEPEST, piece


def test_a_reader_of_quadratic_time_would_be_noticed() -> None:
    def quadratic(data: bytes) -> None:
        for _ in range(0, len(data), 64):
            data.count(b"y")

    assert steepness(quadratic, b"x" * 64) > STEEPEST > TIMES
