"""An upstream is a line, or keys; the schema knows both."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from dnsfw.policy.syntax_upstream import UpstreamEntry, UpstreamSection

ENTRY: TypeAdapter[UpstreamSection] = TypeAdapter(UpstreamEntry)


def test_a_line_is_a_server() -> None:
    assert ENTRY.validate_python("9.9.9.9") == UpstreamSection(server="9.9.9.9")


def test_one_pin_needs_no_list() -> None:
    found = ENTRY.validate_python({"server": "tls://x.example", "pin": "p", "addresses": "::1"})

    assert (found.pin, found.addresses) == (["p"], ["::1"])


@pytest.mark.parametrize("value", [5, [], {"server": 5}, {"pin": "x"}, {"server": "x", "sni": "y"}])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        ENTRY.validate_python(value)


def test_the_schema_offers_both() -> None:
    assert [kind.get("type") for kind in ENTRY.json_schema()["anyOf"]] == ["string", None]
