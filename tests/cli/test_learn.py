"""`dnsfw learn`: from a report to a file that `check` passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.commands import dnsfw


def row(name: str, **more: Any) -> dict[str, Any]:
    made = {
        "role": "host", "verdict": "allow", "name": name, "addresses": ["203.0.113.5"],
        "port": 443, "protocol": "tcp", "reason": "never-resolved", "rule": "", "count": 2,
        "first": 1_700_000_000, "last": 1_700_000_060, "pid": 7, "command": "curl",
    }  # fmt: skip
    return {**made, **more}


def report(tmp_path: Path, *rows: dict[str, Any], name: str = "seen.json") -> str:
    file = tmp_path / name
    file.write_text(json.dumps({"report": 1, "observed": rows}))
    return str(file)


def test_a_report_becomes_a_policy_that_passes_check(tmp_path: Path) -> None:
    output = str(tmp_path / "learned.yaml")

    done = dnsfw("learn", "--report", report(tmp_path, row("www.example.com")), "-o", output)

    assert (done.code, done.out, done.err) == (0, "", "")
    assert dnsfw("check", output).code == 0
    text = Path(output).read_text()
    assert "- allow: www.example.com:443/tcp" in text
    assert "# 2 times by curl, 2023-11-14 22:13:20Z to 2023-11-14 22:14:20Z" in text


def test_several_reports_are_one_policy(tmp_path: Path) -> None:
    one = report(tmp_path, row("a.example.com"), name="one.json")
    two = report(tmp_path, row("a.example.com", port=80), name="two.yaml")

    done = dnsfw("learn", "--report", one, "--report", two)

    assert "- allow: a.example.com:80,443/tcp" in done.out


def test_rows_of_other_roles_are_left_out_and_named(tmp_path: Path) -> None:
    rows = [row("a.example.com"), row("b.example.com", role="web"), row("c.com", role="none")]
    file = report(tmp_path, *rows)

    done = dnsfw("learn", "--report", file)
    web = dnsfw("learn", "--report", file, "--role", "web")

    assert "b.example.com" not in done.out
    assert done.err == "dnsfw: 1 observation of other roles left out: web\n"
    assert "b.example.com" in web.out


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    output = tmp_path / "policy.yaml"
    output.write_text("mine")

    done = dnsfw("learn", "--report", report(tmp_path, row("a.example.com")), "-o", str(output))

    assert done.code == 2
    assert "is there already" in done.err
    assert output.read_text() == "mine"


def test_what_is_no_report_is_a_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "policy.yaml"
    wrong.write_text("version: 1\n")

    assert dnsfw("learn", "--report", str(wrong)).code == 2
    assert dnsfw("learn", "--report", str(tmp_path / "none.json")).code == 2


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    done = dnsfw("learn", "--run-dir", str(tmp_path))

    assert done.code == 3
    assert "not running" in done.err
