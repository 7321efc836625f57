"""`dnsfw test`, as its user sees it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from click.testing import CliRunner, Result

from dnsfw.cli.main import cli

POLICY = """\
version: 1
default: deny
rules:
  - allow: "*.good.example:443"
tests:
  - allow: a.good.example:443
  - deny: evil.example
"""


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, ["test", *map(str, args)])


def policy(tmp_path: Path, more: str = "") -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(POLICY + more)
    return path


def test_each_test_has_its_line(tmp_path: Path) -> None:
    result = run(policy(tmp_path))

    assert result.exit_code == 0
    assert result.output == (
        "ok    allow a.good.example:443/tcp\nok    deny evil.example\n2 tests, all pass\n"
    )


def test_one_that_fails_says_where_and_why_and_the_exit_code_is_1(tmp_path: Path) -> None:
    result = run("-q", policy(tmp_path, "  - deny: b.good.example:443\n"))

    assert result.exit_code == 1
    assert result.output == (
        "FAIL  deny b.good.example:443/tcp\n"
        f"      {tmp_path}/p.yaml:8:11: allowed: by allow *.good.example:443 "
        f"({tmp_path}/p.yaml:4:12)\n"
        "3 tests, 1 failed\n"
    )


def test_the_file_beside_is_run_too(tmp_path: Path) -> None:
    (tmp_path / "p.test.yaml").write_text("tests:\n  - deny: c.example\n")

    assert "deny c.example" in run(policy(tmp_path)).output


def test_a_policy_without_tests_is_no_success(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\ndefault: deny\n")

    result = run(path)

    assert result.exit_code == 1
    assert "no tests; write some under 'tests:'" in result.output


def test_junit_is_what_ci_reads(tmp_path: Path) -> None:
    run("--junit", tmp_path / "out.xml", policy(tmp_path, "  - deny: b.good.example:443\n"))

    root = ElementTree.parse(tmp_path / "out.xml").getroot()

    assert root[0].attrib["tests"] == "3"
    assert root[0].attrib["failures"] == "1"
    assert [case.find("failure") is not None for case in root[0]] == [False, False, True]


def test_json_has_the_same(tmp_path: Path) -> None:
    rows = json.loads(run("--json", policy(tmp_path)).output)

    assert [(row["test"], row["ok"]) for row in rows] == [
        ("allow a.good.example:443/tcp", True),
        ("deny evil.example", True),
    ]
