"""Row 134: what others chose cannot steer a terminal or fake a line."""

from __future__ import annotations

import pytest

from dnsfw.server.escape import safe
from dnsfw.wire.name import from_text, to_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("curl", "curl"),
        (b"curl\0\0junk", "curl"),
        ("a\nb", "a\\010b"),
        ("\x1b[2J", "\\027[2J"),
        ("\r", "\\013"),
        ("a\u202eb", "a\\226\\128\\174b"),
        ("\u2028", "\\226\\128\\168"),
        (b"\xff\xfe", "\\255\\254"),
        ("Müller", "Müller"),
        ("\x9b31m", "\\194\\15531m"),
    ],
)
def test_row_134_what_could_steer_a_terminal_is_written_in_numbers(
    text: str | bytes, shown: str
) -> None:
    assert safe(text) == shown


def test_an_escaped_name_passes_unchanged() -> None:
    name = to_text(from_text(r"a\010b\.c.example"))

    assert safe(name) == name
