"""Reading one object of an old file by kind, and writing values that YAML reads back."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.policy.importers.outcome import Finding, Imported, Kept, Section, comment, quoted
from dnsfw.policy.importers.tolerant_json import read_json
from dnsfw.policy.problems import Position, Problems


def section(text: str) -> Section:
    document = read_json(text, "f", Problems())
    assert document is not None
    return Section(document, (), Problems(), [])


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_quoted_value_is_read_back_by_yaml_whatever_is_in_it(text: str) -> None:
    assert yaml.safe_load(f"- {quoted(text)}") == [text]
    assert quoted(text).isprintable()


@given(st.text(), st.sampled_from(["", "    "]))
def test_a_comment_stays_a_comment_whatever_is_in_it(text: str, indent: str) -> None:
    assert yaml.safe_load(f"a: 1\n{comment(text, indent)}b: 2\n") == {"a": 1, "b": 2}
    assert all(line.strip().startswith("#") for line in comment(text, indent).splitlines())


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ('{"k": 7}', "number", 7), ('{"k": true}', "flag", True), ('{"k": "x"}', "text", "x"),
        ('{"k": null}', "number", None), ("{}", "text", None),
        ('{"k": [1]}', "items", [1]), ('{"k": 1}', "items", [1]), ("{}", "items", []),
    ],
)  # fmt: skip
def test_a_key_is_read_as_its_kind(text: str, kind: str, value: object) -> None:
    found = section(text)

    assert getattr(found, kind)("k") == value
    assert found.problems.errors == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [('{"k": true}', "number"), ('{"k": 1}', "flag"), ('{"k": 1}', "text"), ('{"k": 1}', "child"),
     ('{"k": 1}', "sections"), ('{"k": [1]}', "sections")],
)  # fmt: skip
def test_another_kind_is_a_problem_with_its_place(text: str, kind: str) -> None:
    found = section(text)

    getattr(found, kind)("k")

    assert [str(problem.where) for problem in found.problems.errors] in (["f:1:7"], ["f:1:8"])


def test_a_missing_object_is_empty() -> None:
    found = section("{}").child("k")

    assert (found.value, found.problems.errors) == ({}, [])


def test_what_nobody_asked_for_is_lost_and_what_is_empty_is_not() -> None:
    found = section('{"a": 1, "b": 2, "c": [], "d": {"x": true}}')

    found.number("a")
    found.rest_is_lost("why")

    assert [(f.source, f.kept) for f in found.findings] == [
        ("b: 2", Kept.LOST), ("d: x=true", Kept.LOST),
    ]  # fmt: skip


def test_what_is_lost_is_a_problem_of_a_file_that_is_used_directly() -> None:
    lost = Finding(Position("f", 3, 1), Kept.LOST, "b: 2", "why")
    read = Finding(Position("f", 2, 1), Kept.READ, "a: 1", "a: 1")

    done = Imported("x", "", (read, lost))

    assert [str(problem) for problem in done.problems().errors] == ["f:3:1: b: 2: why"]
