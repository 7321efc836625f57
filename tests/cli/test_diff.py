from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import dnsfw

OLD = """version: 1
default: deny
rules:
  - allow: "*.x.com:443"
  - allow: pypi.org
"""
NEW = """version: 1
default: deny
rules:
  - allow: "*.x.com:80,443"
  - deny: t.x.com
  - allow: crates.io
"""
LINES = [
    {"name": "www.x.com", "verdict": "allow", "count": 2},
    {"name": "pypi.org", "verdict": "allow", "count": 9},
    {"name": "api.x.com", "verdict": "allow", "addresses": ["192.0.2.2"], "chain": ["t.x.com"]},
    {"name": "crates.io", "verdict": "deny"},
    {"name": "crates.io", "verdict": "allow"},
    {"name": "other.example", "verdict": "deny"},
    {"names": ["www.x.com"], "address": "192.0.2.2", "port": 443, "protocol": "tcp",
     "verdict": "allow"},
]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    paths = [tmp_path / name for name in ("old.yaml", "new.yaml", "log")]
    log = "".join(json.dumps({"kind": "name", **line}) + "\n" for line in LINES)
    for path, text in zip(paths, (OLD, NEW, log), strict=True):
        path.write_text(text)
    old, new, seen = map(str, paths)
    return old, new, seen


RULES = [
    "- allow *.x.com:443",
    "- allow pypi.org",
    "+ allow *.x.com:80,443",
    "+ deny t.x.com",
    "+ allow crates.io",
]


def test_the_rules_that_change_are_told_as_reload_tells_them(files: tuple[str, str, str]) -> None:
    old, new, _ = files
    done = dnsfw("diff", old, new)

    assert (done.code, done.out.splitlines()) == (1, [*RULES, "5 changes"])
    assert json.loads(dnsfw("diff", old, new, "--json").out)["changes"] == RULES


def test_no_difference_is_zero(files: tuple[str, str, str]) -> None:
    done = dnsfw("diff", files[0], files[0])

    assert (done.code, done.out) == (0, "no difference\n")


def test_against_a_log_it_says_what_changes_for_whom(files: tuple[str, str, str]) -> None:
    old, new, log = files
    done = dnsfw("diff", old, new, "--against", log)

    assert done.code == 1
    assert done.out.splitlines() == [
        *RULES,
        "refused by the new one:",
        "  9x  pypi.org",
        "      allow pypi.org -> the default: no rule names it",
        "  1x  api.x.com",
        "      allow *.x.com:443 -> deny t.x.com",
        "allowed by the new one:",
        "  2x  crates.io",
        "      the default: no rule names it -> allow crates.io",
        "other ports:",
        "  2x  www.x.com",
        "      open 80/tcp+udp",
        "      allow *.x.com:443 -> allow *.x.com:80,443",
        "4 of 6 destinations that were seen change",
    ]


def test_json_has_both_judgements(files: tuple[str, str, str]) -> None:
    old, new, log = files
    found = json.loads(dnsfw("diff", old, new, "--against", log, "--json").out)

    assert (found["seen"], len(found["changed"])) == (6, 4)
    first = found["changed"][0]
    assert (first["destination"], first["count"]) == ("pypi.org", 9)
    assert (first["old"]["verdict"], first["new"]["verdict"]) == ("allow", "deny")
    assert first["old"]["rule"]["line"] == 5 and first["new"]["rule"] is None


def test_rules_that_change_nothing_of_what_was_seen_are_zero(
    tmp_path: Path, files: tuple[str, str, str]
) -> None:
    more = tmp_path / "more.yaml"
    more.write_text(OLD + "  - allow: nobody.asked.example\n")
    done = dnsfw("diff", files[0], str(more), "--against", files[2])

    assert done.code == 0
    assert done.out.splitlines() == [
        "+ allow nobody.asked.example",
        "nothing that was seen changes (6)",
    ]


def test_a_role_that_goes_refuses_what_it_allowed(tmp_path: Path) -> None:
    old, new, log = tmp_path / "old.yaml", tmp_path / "new.yaml", tmp_path / "log"
    old.write_text(
        "version: 1\ndefault: deny\nroles: {web: {default: deny, rules: [allow: a.com]}}"
    )
    new.write_text("version: 1\ndefault: deny\n")
    log.write_text(json.dumps({"role": "web", "name": "a.com", "verdict": "allow"}) + "\n")

    done = dnsfw("diff", str(old), str(new), "--against", str(log))

    assert done.code == 1
    assert "  1x  web: a.com\n      allow a.com -> no such role\n" in done.out


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_file_that_cannot_be_read_is_a_mistake(files: tuple[str, str, str], missing: int) -> None:
    args = [str(path) for path in files]
    args[missing] += ".none"
    done = dnsfw("diff", args[0], args[1], "--against", args[2])

    assert done.code == 2
    assert ".none" in done.err
