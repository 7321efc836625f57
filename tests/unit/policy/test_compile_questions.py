"""`qtypes` and `guard`: from the file to the role and the rule."""

from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text
from dnsfw.policy.difference import diff
from dnsfw.policy.questions import NORMAL, STRICT, Action, Guard

POLICY = """
version: 1
default: deny
qtypes: strict
guard: throttle
rules:
  - allow: "*.example.com"
    qtypes: [A, TXT]
    guard: {action: refuse, names: 5, window: 1m}
  - allow: example.org
roles:
  web: {rules: [{allow: example.net}]}
"""


def test_a_role_and_a_rule_have_their_own() -> None:
    policy = compile_text(POLICY)
    wildcard, exact = policy.host.rules

    assert policy.host.questions.types == STRICT
    assert policy.host.questions.guard == Guard(Action.THROTTLE)
    assert wildcard.qtypes is not None
    assert wildcard.qtypes.numbers == {1, 16}
    assert wildcard.guard == Guard(Action.REFUSE, names=5, window=60)
    assert (exact.qtypes, exact.guard) == (None, None)


def test_a_role_inherits_neither() -> None:
    web = next(r for r in compile_text(POLICY).roles.values() if r.name == "web")

    assert web.questions.types == NORMAL
    assert web.questions.guard == Guard(Action.LOG)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("allow: a.example\n    qtypes: [A, strict]", "'strict' stands for types of its own"),
        ("allow: a.example\n    qtypes: [A, A]", "'A' stands twice"),
        ("deny: a.example\n    qtypes: A", "'qtypes' is for allow"),
        ("deny: a.example\n    guard: log", "'guard' is for allow"),
        ("allow: 192.0.2.1\n    guard: log", "'guard' says nothing about an address"),
    ],
)
def test_where_they_say_nothing_they_are_mistakes(option: str, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        compile_text(f"version: 1\ndefault: deny\nrules:\n  - {option}\n")


def test_a_reload_tells_what_became_of_them() -> None:
    new = POLICY.replace("qtypes: strict", "qtypes: all").replace("guard: throttle", "guard: off")
    new = new.replace("names: 5", "names: 6")

    assert diff(compile_text(POLICY), compile_text(new)) == [
        "~ qtypes: strict -> all",
        "~ guard: throttle -> off",
        "~ allow *.example.com (guard)",
    ]
