from __future__ import annotations

import json

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text
from dnsfw.policy.syntax import json_schema


def test_the_schema_is_json_and_names_every_key_of_the_language() -> None:
    schema = json.loads(json.dumps(json_schema()))

    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["required"]) == {"version", "default"}
    assert set(schema["properties"]) == {
        "version", "default", "mode", "resolved_only", "inbound", "loopback", "ttl", "rules",
        "roles", "dns", "host", "degraded", "revision",
    }  # fmt: skip
    rule = schema["$defs"]["RuleSection"]
    assert set(rule["properties"]) == {
        "allow", "deny", "note", "ttl", "private", "broad", "shared", "close",
    }  # fmt: skip
    assert schema["additionalProperties"] is False
    assert rule["additionalProperties"] is False


def test_the_schema_takes_no_null_and_describes_what_it_can() -> None:
    text = json.dumps(json_schema())

    assert '"null"' not in text
    for name, field in json_schema()["properties"].items():
        assert field.get("description") or "$ref" in field, name


def test_the_schema_and_the_compiler_agree_on_durations_and_lists() -> None:
    schema = json_schema()
    duration = schema["$defs"]["TtlSection"]["properties"]["min"]
    allow = schema["$defs"]["RuleSection"]["properties"]["allow"]

    assert duration["pattern"] == "^[0-9]{1,9}[smhd]$"
    assert {kind["type"] for kind in allow["anyOf"]} == {"string", "array"}


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
