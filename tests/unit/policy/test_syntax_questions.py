"""`guard` and `qtypes` as the file writes them."""

from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text


def errors(line: str) -> str:
    with pytest.raises(PolicyError) as caught:
        compile_text(f"version: 1\ndefault: deny\n{line}\n")
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("guard: trottle", "<text>:3:8: 'guard' is off, log, throttle, refuse or keys and values"),
        ("guard: trottle", "did you mean 'throttle'?"),
        ("guard: false", "write 'guard: off'"),
        ("guard: {label: 4}", "<text>:3:16: 'label'"),
        ("guard: {limit: 3}", "known are action, names, window, label, nxdomain, types, rate"),
        ("guard: {window: 90}", "90 is no duration; write 90s"),
        ("guard: {window: 2h}", "a window is 1s to 1h"),
        ("qtypes: []", "'qtypes' is an empty list"),
        ("qtypes: [A, 28]", "text, not the number 28"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_remedy(line: str, told: str) -> None:
    assert told in errors(line)
