"""A policy's digest: equal in every process, different as soon as a judgement may differ."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dnsfw.policy.compile import compile_text, load
from dnsfw.policy.digest import digest
from dnsfw.policy.policy import RolePolicy

POLICY = """\
version: 1
default: deny
rules:
  - allow: "*.example.com:443"
  - {allow: other.org, ttl: {min: 5s, max: 20s, grace: 3s}}
  - deny: bad.example.com
roles:
  web:
    default: allow
    subjects: [{uid: 33}]
    rules: [{deny: ads.net, shared: deny}, "allow: x"]
dns: {upstreams: [192.0.2.53], refuse: nxdomain}
""".replace(', "allow: x"', "")


def test_another_process_finds_the_same(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(POLICY)
    code = (
        "import sys, pathlib; from dnsfw.policy.compile import load;"
        "from dnsfw.policy.digest import digest;"
        f"print(digest(load(pathlib.Path({str(file)!r})), frozenset([b'a', b'b', b'c'])))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin"}, cwd=Path(__file__).parents[3],
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip

    assert found == {digest(load(file), frozenset([b"a", b"b", b"c"])) + "\n"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("*.example.com:443", "*.example.com:80"),
        ("deny: bad.example.com", "deny: worse.example.com"),
        ("max: 20s", "max: 21s"),
        ("refuse: nxdomain", "refuse: refused"),
        ("shared: deny", "shared: allow"),
        ("default: deny", "default: deny\nmode: audit"),
        ("default: allow", "default: allow\n    resolved_only: true"),
        ("  web:", "  db:"),
        ("refuse: nxdomain", "refuse: nxdomain, private: deny"),
    ],
)
def test_whatever_may_change_an_answer_changes_it(old: str, new: str) -> None:
    changed = POLICY.replace(old, new, 1)

    assert changed != POLICY
    assert digest(compile_text(POLICY)) != digest(compile_text(changed))


def test_what_stands_beside_the_policy_counts() -> None:
    policy = compile_text(POLICY)

    assert digest(policy, frozenset({b"a"})) != digest(policy, frozenset({b"b"}))


def test_another_list_is_another_policy(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("a.com\nb.com\n")
    file = tmp_path / "p.yaml"
    file.write_text("version: 1\ndefault: allow\nrules: [deny: {list: l.txt, format: plain}]\n")
    before = digest(load(file))

    assert digest(load(file)) == before
    (tmp_path / "l.txt").write_text("a.com\nc.com\n")
    assert digest(load(file)) != before


def test_every_part_of_a_role_is_looked_at_or_named_as_derived() -> None:
    """A key that somebody adds must be in it, or be said not to matter."""
    role = compile_text(POLICY).host

    assert "object at" not in "".join(
        repr(getattr(role, name))
        for name in RolePolicy.__slots__
        if name not in {"_matcher", "addresses", "closes", "judge", "keeps", "rules_by_id"}
    )
