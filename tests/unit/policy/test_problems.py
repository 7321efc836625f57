from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.problems import TEMPORARY, Position, Problem, Problems, shown


def test_a_position_reads_as_file_line_column() -> None:
    assert str(Position("p.yaml", 3, 7)) == "p.yaml:3:7"
    assert str(Position("p.yaml")) == "p.yaml"
    assert str(Position(TEMPORARY, 1, 22)) == "temporary rule"


def test_a_problem_puts_its_remedy_behind_a_semicolon() -> None:
    where = Position("p.yaml", 3, 7)

    assert str(Problem(where, "no", "write yes")) == "p.yaml:3:7: no; write yes"
    assert str(Problem(where, "no")) == "p.yaml:3:7: no"


def test_all_errors_are_raised_at_once_in_file_order() -> None:
    problems = Problems()
    problems.error(Position("p", 9, 1), "second")
    problems.error(Position("p", 2, 5), "first")
    problems.error(Position("p", 2, 5), "first")

    with pytest.raises(PolicyError) as raised:
        problems.stop_if_any()

    assert str(raised.value).splitlines() == ["p:2:5: first", "p:9:1: second"]


def test_warnings_alone_stop_nothing() -> None:
    problems = Problems()
    problems.warn(Position("p", 1, 1), "hm")

    problems.stop_if_any()


def test_a_file_that_is_wrong_everywhere_does_not_flood_the_terminal() -> None:
    problems = Problems()
    for line in range(1, 500):
        problems.error(Position("p", line, 1), "no")

    with pytest.raises(PolicyError, match="and 399 more"):
        problems.stop_if_any()


@pytest.mark.parametrize("nasty", ["a\x1b[2Jb", "a\nb", "a\u202eb", "a\x00b", "a\u200bb"])
def test_row_134_shown_values_cannot_steer_a_terminal(nasty: str) -> None:
    assert shown(nasty).isprintable()


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 10_000)) < 100
