"""Steps that all work or are all taken back."""

from __future__ import annotations

import pytest

from dnsfw.datapath.change import Change


def test_a_failure_takes_the_steps_back_the_last_first() -> None:
    said: list[str] = []

    with pytest.raises(ValueError, match="third"), Change() as change:
        change.undo(said.append, "first")
        change.undo(said.append, "second")
        raise ValueError("third")

    assert said == ["second", "first"]


def test_success_takes_nothing_back() -> None:
    said: list[str] = []

    with Change() as change:
        change.undo(said.append, "undone")
        change.always(said.append, "closed")

    assert said == ["closed"]


def test_what_must_always_happen_happens_after_the_undoing() -> None:
    said: list[str] = []

    with pytest.raises(ValueError), Change() as change:
        change.always(said.append, "closed")
        change.undo(said.append, "undone")
        raise ValueError

    assert said == ["undone", "closed"]


def test_a_part_that_fails_is_undone_alone() -> None:
    said: list[str] = []

    with Change() as change:
        change.undo(said.append, "whole")
        with pytest.raises(ValueError), change.part() as part:
            part.undo(said.append, "part")
            raise ValueError

    assert said == ["part"]


def test_a_part_that_worked_shares_the_fate_of_the_whole() -> None:
    said: list[str] = []

    with pytest.raises(ValueError), Change() as change:
        change.undo(said.append, "whole")
        with change.part() as part:
            part.always(said.append, "closed")
            part.undo(said.append, "part")
        assert said == []
        raise ValueError

    assert said == ["part", "whole", "closed"]


def test_an_undo_that_fails_does_not_stop_the_others() -> None:
    said: list[str] = []

    def fail() -> None:
        raise OSError("cannot")

    with pytest.raises(OSError, match="cannot"), Change() as change:
        change.undo(said.append, "first")
        change.undo(fail)
        raise ValueError

    assert said == ["first"]
