"""The tests of a policy say what the firewall does, the answer's addresses included."""

from __future__ import annotations

import pytest

from dnsfw.engine.cases import Result, run_cases
from dnsfw.policy.compile import compile_text

POLICY = """\
version: 1
default: {default}
rules:
  - allow: "*.good.example:443"
  - allow: 10.0.0.0/8:5432/tcp
  - deny: "*.tracker.example"
  - deny: 198.51.100.0/24
roles:
  web: {{default: deny, rules: [{{allow: "db.internal:5432", private: true}}]}}
tests:
  - {test}
"""


def result(test: str, default: str = "deny") -> Result:
    policy = compile_text(POLICY.format(test=test, default=default))
    (found,) = run_cases(policy, policy.tests)
    return found


@pytest.mark.parametrize(
    "test",
    [
        "allow: a.good.example:443",
        "deny: a.good.example:80",
        "deny: good.example",
        "deny: 192.0.2.1",
        "allow: 10.1.2.3:5432/tcp",
        "{allow: a.good.example:443, by: 'allow *.good.example:443'}",
        "{allow: a.good.example:443, answer: [192.0.2.7, '2001:db8::7']}",
        "{deny: a.good.example:443, answer: [x.tracker.example, 192.0.2.7]}",
        "{deny: a.good.example:443, answer: [10.9.9.9]}",
        "{deny: a.good.example:443, answer: [127.0.0.1]}",
        "{deny: a.good.example:443, answer: [198.51.100.7]}",
        "{deny: a.good.example:443, answer: [192.0.2.7, 10.9.9.9]}",
        "{role: web, allow: 'db.internal:5432', answer: [10.9.9.9]}",
        "{role: web, deny: 'a.good.example:443'}",
    ],
)
def test_a_true_sentence_about_the_policy_passes(test: str) -> None:
    assert result(test).ok


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("allow: evil.example", "name-default"),
        ("deny: a.good.example:443", "by allow *.good.example:443"),
        ("{allow: a.good.example:443, by: allow nothing}", "by allow *.good.example:443"),
        ("{allow: a.good.example:443, answer: [10.9.9.9]}", "10.9.9.9 is not open"),
        ("{allow: a.good.example:443, answer: [x.tracker.example, 192.0.2.7]}", "not open"),
    ],
)
def test_a_false_one_fails_and_says_why(test: str, why: str) -> None:
    found = result(test)

    assert not found.ok
    assert why in found.why


@pytest.mark.parametrize(
    "test",
    [
        "{allow: other.example:80, answer: [192.0.2.7]}",
        "{deny: other.example:80, answer: [198.51.100.7]}",
        "{deny: x.tracker.example, answer: [192.0.2.7]}",
        "{allow: other.example:80, answer: [10.9.9.9]}",
    ],
)
def test_under_default_allow_an_answer_is_judged_too(test: str) -> None:
    assert result(test, default="allow").ok


def test_under_default_allow_a_denied_name_on_the_chain_refuses_the_answer() -> None:
    assert result("{deny: a.example:443, answer: [x.tracker.example, 192.0.2.7]}", "allow").ok
    assert result("{allow: a.example:443, answer: [cdn.example, 192.0.2.7]}", "allow").ok
