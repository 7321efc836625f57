"""Sections and durations."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dnsfw.policy.syntax_parts import Duration, Section


class _Sample(Section):
    time: Duration


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5m", 300), ("1h", 3600)])
def test_a_duration_is_a_number_with_its_unit(text: str, seconds: int) -> None:
    assert _Sample.model_validate({"time": text}).time == seconds


@pytest.mark.parametrize("text", ["30", 30, "1w", "-1s", "", True, None, "1s\n"])
def test_a_duration_without_its_unit_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        _Sample.model_validate({"time": text})


def test_a_key_that_nobody_reads_is_refused() -> None:
    with pytest.raises(ValidationError):
        _Sample.model_validate({"time": "1s", "tme": "1s"})
