"""Row 125: hostile YAML ends in a problem with a place, quickly, and never in a crash."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import yaml

from dnsfw.policy import syntax_yaml
from dnsfw.policy.problems import Problems
from dnsfw.policy.syntax_yaml import Document, read_document


@pytest.fixture(autouse=True, params=["libyaml", "pure"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure":
        monkeypatch.setattr(syntax_yaml, "_LOADER", yaml.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML without libyaml")


def read(text: str) -> tuple[Document | None, list[str]]:
    problems = Problems()
    document = read_document(text, "p", problems)
    return document, [str(problem) for problem in problems.errors]


def value(text: str) -> object:
    document, errors = read(text)
    assert errors == []
    assert document is not None
    return document.value


def only_error(text: str) -> str:
    _, errors = read(text)
    (error,) = errors
    return error


def test_values_and_their_places() -> None:
    document, _ = read("a: 1\nb:\n  - c: x\n  -   y\n")

    assert document is not None
    assert document.value == {"a": 1, "b": [{"c": "x"}, "y"]}
    assert str(document.place(("b", 0, "c"))) == "p:3:8"
    assert str(document.key_place(("b", 0, "c"))) == "p:3:5"
    assert str(document.place(("b", 1))) == "p:4:7"
    assert str(document.place(("b", 0, "c", 5))) == "p:3:8"


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("true", True),
        ("on", "on"),
        ("no", "no"),
        ("22:22", "22:22"),
        ("1.5", "1.5"),
        ("0x10", "0x10"),
        ("010", "010"),
        ("-7", -7),
        ("'443'", "443"),
        ("~", None),
        ("2001-01-01", "2001-01-01"),
        ("1_000", "1_000"),
        ("!!str 443", "443"),
        ('"x"', "x"),
        ("=", "="),
    ],
)
def test_scalars_are_yaml_1_2_core(written: str, read_as: object) -> None:
    assert value(f"a: {written}") == {"a": read_as}


def test_json_is_yaml() -> None:
    assert value('{"version": 1, "rules": [{"allow": "x"}]}') == {
        "version": 1,
        "rules": [{"allow": "x"}],
    }


def test_an_empty_text_is_no_document_but_no_crash() -> None:
    assert value("") is None
    assert value("# nothing\n") is None


def test_duplicate_keys_are_errors_and_the_rest_is_still_read() -> None:
    document, errors = read("a: 1\nb: 2\na: 3\n")

    assert errors == ["p:3:1: key 'a' stands twice; the first is in line 1"]
    assert document is not None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("allow: *.x.com", """p:1:8: '*.x.com' is YAML, not text; quote it: "*.x.com\""""),
        ("allow: *", """p:1:8: '*' is YAML, not text; quote it: "*\""""),
        ("allow: [a, *.x.com]", """p:1:12: '*.x.com' is YAML, not text; quote it: "*.x.com\""""),
        ("allow: *x", """p:1:8: '*x' is a YAML alias of nothing; quote it: "*x\""""),
        (
            "allow: [2001:db8::1]:443",
            """p:1:8: '[2001:db8::1]:443' is YAML, not text; quote it: "[2001:db8::1]:443\"""",
        ),
        (
            "allow: [2001:db8::]/32",
            """p:1:8: '[2001:db8::]/32' is YAML, not text; quote it: "[2001:db8::]/32\"""",
        ),
        ("allow: @x", "p:1:8: '@' cannot begin a value; quote the value"),
        ("allow: a: b", "p:1:9: a second colon in one line; quote the value, or indent it"),
        ("\tallow: x", "p:1:1: a tab cannot indent; use blanks"),
    ],
)
def test_syntax_errors_that_policies_invite_get_their_remedy(line: str, says: str) -> None:
    assert only_error(line) == says


def test_the_star_is_found_though_the_parser_stops_elsewhere() -> None:
    text = "version: 1\nrules:\n  - allow: a.com\n  - allow: *.b.com  # why\n  - allow: c.com\n"

    assert only_error(text) == """p:4:12: '*.b.com' is YAML, not text; quote it: "*.b.com\""""


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [id]",
        "a: !!python/name:os.system x",
        "a: !!binary aGk=",
        "a: !mine x",
        "a: !!set {x}",
        "!!python/object:os.system {}",
        "a: !!timestamp 2001-01-01",
    ],
)
def test_row_125_no_tag_is_honoured(text: str) -> None:
    _, errors = read(text)

    assert len(errors) == 1
    assert "is not read" in errors[0]


def test_row_125_a_billion_laughs_ends_at_once() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"

    started = time.monotonic()

    assert "aliases" in only_error(bomb)
    assert time.monotonic() - started < 2


def test_row_125_many_aliases_of_a_big_anchor_end_too() -> None:
    big = "a: &a [" + "x, " * 30_000 + "x]\n" + "b: [*a, *a, *a, *a]\n"

    assert "copies" in only_error(big)


def test_a_few_aliases_are_fine() -> None:
    assert value("a: &a [x, y]\nb: *a\nc: &c z\nd: *c\n") == {
        "a": ["x", "y"],
        "b": ["x", "y"],
        "c": "z",
        "d": "z",
    }


def test_row_125_an_alias_inside_its_own_anchor_is_no_loop() -> None:
    assert "alias of nothing" in only_error("a: &a [*a]")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "".join(" " * n + "a:\n" for n in range(500)),
        "[" * 40 + "]" * 40,
    ],
    ids=["sequences", "mappings", "block", "indents", "closed"],
)
def test_row_125_deep_nesting_ends_without_recursion(text: str) -> None:
    _, errors = read(text)

    assert len(errors) == 1
    assert "nested deeper than 32" in errors[0]


@pytest.mark.parametrize(
    "text",
    [
        "a: [b",
        "a: }",
        "? [x]\n: y",
        "? {x: y}\n: y",
        "<<: {a: b}",
        "a: 1\n---\nb: 2",
        "%YAML 9.9\n---\na: b",
        "a: \x07",
        "a: \ufffe",
        "&a *a",
        "a: |\n  x\n b",
        "a: 'x",
        "\x00",
        "a: \ud800",
        ": :\n:",
        "*a: b",
        "? ",
    ],
)
def test_broken_documents_are_problems_or_values_never_exceptions(text: str) -> None:
    document, errors = read(text)

    assert (document is None) == bool(errors) or document is not None
    assert all(error.isprintable() for error in errors)


def test_row_125_a_big_document_has_a_limit_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syntax_yaml, "MAX_NODES", 100)

    assert "more than 100 values" in only_error("[" + "x, " * 200 + "x]")


def test_merge_keys_are_refused_not_half_understood() -> None:
    assert "merge keys" in only_error("a: &a {b: c}\nd: {<<: *a}")


def test_reading_needs_little_stack() -> None:
    code = (
        "import sys; sys.setrecursionlimit(150)\n"
        "from dnsfw.policy.problems import Problems\n"
        "from dnsfw.policy.syntax_yaml import read_document\n"
        "p = Problems(); read_document('[' * 50000, 'p', p); print(len(p.errors))"
    )
    code = code.replace("import sys; sys.setrecursionlimit(150)\n", "import sys\n", 1).replace(
        "p = Problems()", "sys.setrecursionlimit(150); p = Problems()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert done.stdout.strip() == "1", done.stderr
