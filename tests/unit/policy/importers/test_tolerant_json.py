"""JSON by hand: what is tolerated, what is not, and where a mistake is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.errors import PolicyError
from dnsfw.policy.importers.tolerant_json import read_json
from dnsfw.policy.problems import Problems
from dnsfw.policy.syntax_yaml import MAX_DEPTH

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


def value_of(text: str) -> object:
    problems = Problems()
    document = read_json(text, "f", problems)
    problems.stop_if_any()
    assert document is not None
    return document.value


def error_of(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        value_of(text)
    return str(caught.value)


@given(VALUES, st.sampled_from([None, 2]))
def test_what_json_writes_is_read_back(value: object, indent: int | None) -> None:
    assert value_of(json.dumps(value, indent=indent)) == value
    assert value_of(json.dumps(value, indent=indent, ensure_ascii=False)) == value


@given(VALUES)
def test_a_trailing_comma_changes_nothing(value: object) -> None:
    text = json.dumps({"a": [value, [1]], "b": {"c": value}}, indent=1)
    with_commas = text.replace("1\n", "1,\n") + "  "

    assert value_of(with_commas) == json.loads(text)


@given(st.text(alphabet='{}[]",:\\/*# \n\tatrue10.-é\ud800', max_size=40))
def test_any_text_ends_in_a_value_or_in_one_problem_with_a_place(text: str) -> None:
    problems = Problems()

    document = read_json(text, "f", problems)

    assert (document is None) == (len(problems.errors) == 1)
    assert all(problem.where.line and problem.where.column for problem in problems.errors)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, 2,],}',
        '// first\n{"a": /* here */ [1, # one\n 2]}  // end\n',
        '\ufeff{"a"\t:\r\n[1,2]}',
    ],
)
def test_trailing_commas_comments_and_a_mark_are_tolerated(text: str) -> None:
    assert value_of(text) == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1,\n "b": 2, "a": 3}', "f:2:10: key 'a' stands twice; the first is in line 1"),
        ('{"a": [1,, 2]}', "f:1:10: ',' is no JSON value"),
        ("{,}", "f:1:2: ',' begins no key"),
        ('{"a" 1}', "f:1:6: ':' is missing before '1'"),
        ('{"a": 1 "b": 2}', "f:1:9: ',' or a closing bracket is missing"),
        ('{"a": [1}', "f:1:9: '}' closes what is not open"),
        ('["a": 1]', "f:1:5: ',' or a closing bracket is missing before ':'"),
        ('{"a": 1}\n{}', "f:2:1: '{' after the end"),
        ('{"a": ', "f:1:7: the text ends in mid-way"),
        ("", "f:1:1: the text ends in mid-way"),
        ("{a: 1}", "f:1:2: 'a' begins no key; keys stand in double quotes"),
        ("{'a': 1}", "begins no key"),
        ('{"a": yes}', "f:1:7: 'yes' is no JSON value"),
        ('{"a": 01}', "'01' is no JSON value"),
        ('{"a": NaN}', "'NaN' is no JSON value"),
        ('{"a": 12345678901234567890}', "is no JSON value"),
        ('{"a": "x\ny"}', "f:1:7: a text without its end in this line"),
        (r'{"a": "\x"}', "is no JSON text"),
        (r'{"a": "\ud800"}', "is no JSON text"),
        ("/* never ends", "f:1:1: '/' is no JSON value"),
        ("[" * (MAX_DEPTH + 1), f"nested deeper than {MAX_DEPTH}"),
        ('["' + "x" * 70000 + '"]', "a text longer than 65536 characters"),
    ],
)
def test_a_mistake_has_its_line_and_its_remedy(text: str, says: str) -> None:
    assert says in error_of(text)


def test_every_value_has_its_place() -> None:
    document = read_json('{"a": [10,\n  20], "b": {"c": 1}}', "f", Problems())

    assert document is not None
    assert str(document.place(("a", 1))) == "f:2:3"
    assert str(document.place(("b", "c"))) == "f:2:19"
    assert str(document.key_place(("b",))) == "f:2:8"


def test_too_many_values_are_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnsfw.policy.importers.tolerant_json.MAX_NODES", 3)

    assert "more than 3 values" in error_of("[1, 2, 3, 4]")
