from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text


@pytest.mark.parametrize(
    ("written", "seconds"), [("30s", 30), ("5m", 300), ("1h", 3600), ("1d", 86400)]
)
def test_durations_have_units(written: str, seconds: int) -> None:
    policy = compile_text(f"version: 1\ndefault: deny\nttl: {{max: {written}, min: 1s}}")

    assert policy.host.ttl.max == seconds


@pytest.mark.parametrize("written", ["30", "1.5h", "-1s", "1h30m", "1w", "s", "''", "1 h", "true"])
def test_a_duration_without_a_unit_is_an_error(written: str) -> None:
    with pytest.raises(PolicyError, match="is no duration"):
        compile_text(f"version: 1\ndefault: deny\nttl: {{max: {written}}}")


def test_a_number_of_seconds_gets_the_remedy() -> None:
    with pytest.raises(PolicyError, match="write 30s"):
        compile_text("version: 1\ndefault: deny\nttl: {max: 30}")


@pytest.mark.parametrize("note", ["a\\nb", "\\e[2J", "\\u202e"])
def test_row_134_a_note_is_one_printable_line(note: str) -> None:
    with pytest.raises(PolicyError, match="one printable line"):
        compile_text(f'version: 1\ndefault: deny\nrules: [{{allow: x.com, note: "{note}"}}]')
