"""Manifests: documents with their lines, lists, selectors, names."""

from __future__ import annotations

import pytest

from dnsfw.policy.importers.manifests import manifests, role_name, selector_text
from dnsfw.policy.importers.outcome import Finding
from dnsfw.policy.problems import Problems


def read(text: str) -> tuple[list[tuple[str, str, int]], Problems]:
    problems, findings = Problems(), list[Finding]()
    found = manifests(text, "f", problems, findings)
    return [(one.kind, one.name, one.top.place(("kind",)).line) for one in found], problems


def test_each_document_has_its_own_lines() -> None:
    text = "# a\n---\nkind: A\nmetadata: {name: one}\n--- # next\n\nkind: B\n...\n---\n# empty\n"

    assert read(text)[0] == [("A", "one", 3), ("B", "", 7)]


def test_a_list_and_json_are_read_as_well() -> None:
    assert read("kind: List\nitems:\n- kind: A\n- kind: B\n")[0] == [("A", "", 3), ("B", "", 4)]
    assert read('{"kind": "A",\n"metadata": {"name": "x"}}')[0] == [("A", "x", 1)]


@pytest.mark.parametrize("text", ["metadata: {}\n", "- 1\n", "kind: [\n", "---\n" * 300])
def test_what_is_no_manifest_is_an_error_with_its_place(text: str) -> None:
    problems = read(text)[1]

    assert problems.errors and problems.errors[0].where.file == "f"


def test_the_same_selector_is_the_same_text() -> None:
    one = {"matchLabels": {"b": "2", "a": "1"}}

    assert selector_text(one) == selector_text({"matchLabels": {"a": "1", "b": "2"}})
    assert selector_text(one) == "matchLabels=a=1, b=2"
    assert selector_text({}) == selector_text({"matchLabels": {}}) == ""


def test_a_name_becomes_a_roles_name_that_nobody_has() -> None:
    assert role_name("Allow All!", ()) == "allow-all"
    assert role_name("x" * 80, ()) == "x" * 26
    assert role_name("web", ("web", "web-2")) == "web-3"
    assert role_name("host", ()) == "host-pods"
    assert role_name("…", ()) == "imported"
