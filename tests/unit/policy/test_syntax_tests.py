"""The shape of a test, as the schema shows it."""

from __future__ import annotations

from dnsfw.policy.syntax import json_schema
from dnsfw.policy.syntax_tests import CaseSection


def test_a_lone_destination_is_a_list_of_one() -> None:
    assert CaseSection.model_validate({"deny": "a.com"}).deny == ["a.com"]


def test_editors_are_told_what_a_test_is() -> None:
    schema = json_schema()

    assert schema["properties"]["tests"]["items"] == {"$ref": "#/$defs/CaseSection"}
    assert set(schema["$defs"]["CaseSection"]["properties"]) == set(CaseSection.model_fields)
