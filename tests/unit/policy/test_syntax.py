from __future__ import annotations

import json

from dnsfw.policy.syntax import json_schema


def test_the_schema_is_json_and_names_every_key_of_the_language() -> None:
    schema = json.loads(json.dumps(json_schema()))

    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["required"] == ["version"]
    assert schema["anyOf"] == [{"required": ["default"]}, {"required": ["remote"]}]
    assert set(schema["properties"]) == {
        "version", "default", "mode", "resolved_only", "inbound", "loopback", "ttl", "rules",
        "roles", "tests", "dns", "host", "degraded", "revision", "locked",
        "qtypes", "guard", "log", "remote", "tables",
    }  # fmt: skip
    rule = schema["$defs"]["RuleSection"]
    assert set(rule["properties"]) == {
        "allow", "deny", "note", "ttl", "private", "broad", "addresses", "keep", "shared",
        "close", "qtypes", "guard",
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
    assert {kind.get("type") for kind in allow["anyOf"]} == {"string", "array", None}
    assert {"$ref": "#/$defs/ListSection"} in allow["anyOf"]
