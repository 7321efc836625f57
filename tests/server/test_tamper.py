"""Somebody touched the wall: counted, told, shown (rows 44 to 46)."""

from __future__ import annotations

from dnsfw.model import SECOND, Nanos
from dnsfw.server.tamper import Tampering


def test_nothing_happened() -> None:
    tampering = Tampering(lambda: Nanos(0), lambda kind, text: None)

    assert tampering.row() == {"count": 0, "last": "", "seconds_ago": None}


def test_each_is_told_as_a_kind_of_its_own_and_the_last_is_kept() -> None:
    said: list[tuple[str, str]] = []
    clock = [10 * SECOND]
    tampering = Tampering(lambda: Nanos(clock[0]), lambda kind, text: said.append((kind, text)))

    tampering.found("connect4 was removed; it is back")
    tampering.found("a pin was removed; it is back")
    clock[0] += 65 * SECOND

    assert [kind for kind, _ in said] == ["tamper", "tamper"]
    assert tampering.row() == {
        "count": 2, "last": "a pin was removed; it is back", "seconds_ago": 65,
    }  # fmt: skip
