"""What a test may say, and what is told when it says nonsense."""

from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import HOST, Verdict
from dnsfw.policy.case import read_cases
from dnsfw.policy.compile import compile_text
from dnsfw.policy.problems import Problems

HEAD = "version: 1\ndefault: deny\ntests:\n"


def test_a_case_for_each_destination_at_its_own_place() -> None:
    policy = compile_text(HEAD + "  - deny: [a.example:80, 192.0.2.1]\n")

    assert [(c.title, c.where.column, c.expect) for c in policy.tests] == [
        ("deny a.example:80/tcp", 12, Verdict.DENY),
        ("deny 192.0.2.1", 26, Verdict.DENY),
    ]


def test_the_title_tells_cases_with_other_answers_apart() -> None:
    policy = compile_text(HEAD + "  - {deny: a.example, answer: [b.example, 192.0.2.1]}\n")

    assert policy.tests[0].title == "deny a.example when it is b.example, 192.0.2.1"


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ("{allow: a.com, deny: a.com}", "not both"),
        ("{note: x}", "a test needs allow or deny"),
        ("{allow: a.com, role: nobody}", "no role 'nobody'; there are host"),
        ("{allow: 'a.com:x'}", "is no port"),
        ("{allow: 192.0.2.1, answer: [192.0.2.1]}", "an address is not looked up"),
        ("{allow: a.com, answer: [192.0.2.1, b.com]}", "a name after an address"),
        ("{allow: a.com, answer: [b.com]}", "a chain that ends nowhere"),
        ("{allow: a.com, answer: ['b..com', 192.0.2.1]}", "'b..com'"),
        ("{alow: a.com}", "did you mean 'allow'?"),
    ],
)
def test_nonsense_is_an_error_with_its_place(test: str, says: str) -> None:
    with pytest.raises(PolicyError) as error:
        compile_text(HEAD + f"  - {test}\n", "p")

    assert says in str(error.value)
    assert str(error.value).startswith("p:4:")


def test_a_file_of_tests_holds_tests_only() -> None:
    problems = Problems()

    cases = read_cases("tests:\n  - allow: a.com\n", "p.test.yaml", {"host": HOST}, problems)
    none = read_cases("version: 1\n", "q.test.yaml", {"host": HOST}, problems)

    assert [case.title for case in cases] == ["allow a.com"]
    assert none == ()
    assert [str(error) for error in problems.errors] == [
        "q.test.yaml:1:1: a file of tests has the one key 'tests'"
    ]
