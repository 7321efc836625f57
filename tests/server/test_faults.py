"""The boundary around one packet."""

from __future__ import annotations

from dnsfw.errors import ConfigError
from dnsfw.server.address import parse_endpoint
from dnsfw.server.faults import Faults, place_of


def fail(faults: Faults, how: int) -> None:
    try:
        if how == 0:
            raise ValueError("secret of a peer")
        raise KeyError(how)
    except Exception as error:
        faults.caught("reading a query", error)


def test_row_136_a_fault_is_told_once_a_place_and_counted_always() -> None:
    said: list[str] = []
    faults = Faults(said.append)

    for _ in range(100):
        fail(faults, 0)
        fail(faults, 1)

    assert faults.count == 200
    assert len(said) == 2
    assert "test_faults.py:" in said[0]


def test_what_the_peer_sent_is_not_in_the_line() -> None:
    said: list[str] = []

    fail(Faults(said.append), 0)

    assert "secret" not in said[0]


def test_the_place_is_ours_not_the_librarys() -> None:
    try:
        parse_endpoint("[")
    except ConfigError as error:
        assert place_of(error).startswith("server/address.py:")
