"""Whether names that nobody remembers can have been closed by a reload."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.engine.reload import lives, only_looser
from dnsfw.engine.slots import Piece
from dnsfw.model import DEFAULT_RULE, HOST, RoleId, RuleId, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.policy.ports import ANY

BASE = "version: 1\ndefault: deny\nrules:\n  - allow: '*.x.net'\n"


def looser(text: str, old: str = BASE) -> bool:
    return only_looser(compile_text(old), compile_text(text), HOST)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("", True),
        ("  - allow: y.net\n", True),
        ("  - deny: a.x.net\n", False),
        ("  - deny: 192.0.2.0/24\n", False),
        ("dns: {private: deny}\n", False),
    ],
)
def test_an_allow_more_closes_nothing_and_a_deny_more_may(change: str, expected: bool) -> None:
    assert looser(BASE + change) is expected


def test_an_allow_less_may_close_and_a_deny_less_does_not() -> None:
    more = BASE + "  - allow: y.net\n  - deny: z.x.net\n"

    assert looser(BASE + "  - allow: y.net\n", more)
    assert not looser(BASE + "  - deny: z.x.net\n", more)


def test_another_default_or_another_private_may_close() -> None:
    private = BASE.replace("allow: '*.x.net'", "{allow: '*.x.net', private: true}")

    assert not looser(BASE.replace("default: deny", "default: allow"))
    assert not looser(BASE, private)
    assert not only_looser(compile_text(BASE), compile_text(BASE), RoleId(99))


def test_a_list_that_says_something_else_may_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(tmp_path / "cache"))
    text = BASE + "  - deny: {list: l.txt}\n"
    made = []
    for line in ("a.x.net\n", "a.x.net\n", "a.x.net\nb.x.net\n"):
        (tmp_path / "l.txt").write_text(line)
        made.append(compile_text(text, str(tmp_path / "p.yaml")))

    assert only_looser(made[0], made[1], HOST)
    assert not only_looser(made[1], made[2], HOST)


def piece(policy: Policy, verdict: Verdict = Verdict.ALLOW) -> Piece:
    return Piece(policy.host.rules[0].id, ANY, verdict)


def test_a_piece_lives_while_its_rule_says_the_same() -> None:
    policy = compile_text(BASE)

    assert lives(policy, HOST, piece(policy))
    assert not lives(policy, HOST, piece(policy, Verdict.DENY))
    assert not lives(policy, HOST, Piece(RuleId(12345), ANY, Verdict.ALLOW))
    assert not lives(policy, RoleId(99), piece(policy))


def test_a_piece_of_the_default_lives_by_the_default() -> None:
    default = Piece(DEFAULT_RULE, ANY, Verdict.ALLOW)

    assert not lives(compile_text(BASE), HOST, default)
    assert lives(compile_text(BASE.replace("default: deny", "default: allow")), HOST, default)
