"""The words at the end of a run, and its report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dnsfw.errors import DatapathError
from dnsfw.policy.learn import read_rows
from dnsfw.server.run_summary import Outcome, report_text, summary, write_report


def row(name: str = "", **more: Any) -> dict[str, Any]:
    made = {
        "role": "host", "verdict": "deny", "name": name, "addresses": [] if name else ["192.0.2.9"],
        "port": 0 if name else 443, "protocol": "" if name else "tcp", "reason": "never-resolved",
        "rule": "", "count": 1, "first": 100, "last": 100, "pid": 7, "command": "curl",
    }  # fmt: skip
    return {**made, **more}


def outcome(*rows: dict[str, Any], **more: Any) -> Outcome:
    fields: dict[str, Any] = {
        "command": ("curl", "x"), "status": 6, "mode": "enforce", "policy": "the command line",
        "default": "deny", "started": 100.5, "ended": 101.5, "rows": rows,
        "packets": {"allowed": 3, "denied": 2, "audited": 0, "unseen": 0},
    }  # fmt: skip
    return Outcome(**{**fields, **more})


GOLDEN = """\
dnsfw: refused 6 times:
  3x  tracker.example                 name-default    pip[8]
  1x  192.0.2.9:443/tcp               never-resolved  curl[7]
  2x  db.example:5432/tcp (10.0.0.5)  filtered        psql
to allow it:
  --allow 192.0.2.9:443/tcp --allow tracker.example
or in a policy file:
  - {allow: db.example:5432/tcp, private: true}
  - allow: 192.0.2.9:443/tcp
  - allow: tracker.example
"""


def test_the_summary_is_as_it_was_reviewed() -> None:
    found = summary(
        outcome(
            row("tracker.example", reason="name-default", count=3, pid=8, command="pip", first=1),
            row(first=2),
            row(
                "db.example", reason="filtered", addresses=["10.0.0.5"], port=5432, pid=0,
                protocol="tcp", count=2, command="psql", first=3,
            ),
        )
    )  # fmt: skip

    assert "\n".join(found) + "\n" == GOLDEN


def test_nothing_refused_is_nothing_said() -> None:
    assert summary(outcome()) == []
    assert summary(outcome(), verbose=True) == [
        "dnsfw: nothing was refused by the command line",
        "dnsfw: packets and connections: 3 allowed, 2 denied, 0 audited",
    ]


def test_row_140_an_audit_is_never_silent() -> None:
    assert "AUDIT: nothing was enforced" in summary(outcome(mode="audit"))[0]
    assert "would have refused once" in summary(outcome(row(), mode="audit"))[0]


def test_what_a_rule_refuses_on_purpose_gets_no_remedy() -> None:
    found = summary(outcome(row("ads.example", reason="by-name", rule="deny .example")))

    assert any("by-name: deny .example" in line for line in found)
    assert not any("allow" in line for line in found)


def test_a_flood_is_cut_and_says_where_the_rest_is() -> None:
    found = summary(outcome(*(row(f"n{n}.example") for n in range(100)), left_out=5))

    assert "  and 85 more; --report FILE keeps 100 of them" in found
    assert len(found) < 60


def test_row_134_remarks_cannot_steer_the_terminal() -> None:
    found = summary(outcome(remarks=("\x1b[2Jx\ny",)))

    assert all(line.isprintable() for line in found)


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_report_is_read_back_by_learn(form: str) -> None:
    made = outcome(row("a.example"), row(), command=("sh", "-c", "echo \x1b'\"#\n"))

    text = report_text(made, form)

    assert read_rows(text, f"r.{form}") == list(made.rows)
    assert "\x1b" not in text


def test_the_report_carries_mode_status_and_counts() -> None:
    report = json.loads(report_text(outcome(row(), mode="audit"), "json"))

    assert list(report) == [
        "report", "mode", "policy", "default", "command", "exit", "started", "ended", "packets",
        "kernel_answers", "rows_left_out", "remarks", "observed",
    ]  # fmt: skip
    assert (report["mode"], report["exit"], report["packets"]["denied"]) == ("audit", 6, 2)


def test_a_report_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "seen.json"
    target.write_text("old")

    write_report(outcome(), str(target), "json")

    assert json.loads(target.read_text())["report"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["seen.json"]
    with pytest.raises(DatapathError, match="--report"):
        write_report(outcome(), str(tmp_path / "none" / "seen.json"), "json")


def test_a_link_put_in_the_way_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".seen.json.{os.getpid()}").symlink_to(victim)

    with pytest.raises(DatapathError):
        write_report(outcome(), str(tmp_path / "seen.json"), "json")

    assert victim.read_text() == "mine"
