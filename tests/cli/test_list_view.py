"""What `check` says of a list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dnsfw.cli.main import cli


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    return _run(tmp_path, monkeypatch)


def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Result:
    monkeypatch.setenv("DNSFW_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "ads.txt").write_text("||a.example^\n@@||b.a.example^\nx.example##.ad\n||com^\n")
    policy = tmp_path / "p.yaml"
    policy.write_text(
        "version: 1\ndefault: allow\nrules: [deny: {list: ads.txt, format: adblock}]\n"
    )
    return CliRunner().invoke(cli, ["check", *options, str(policy)])


def test_lines_that_became_rules_and_lines_that_did_not_are_told(result: Result) -> None:
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "  deny list ads.txt: 1 .x, 1 exception",
        "    2 lines refused: 1 a cosmetic filter, 1 a top-level name",
        "    line 3: 'x.example##.ad': a cosmetic filter",
        "    line 4: 'com': a top-level name",
    ]


def test_json_has_every_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = json.loads(_run(tmp_path, monkeypatch, "--json").stdout)

    (names,) = row["lists"]
    assert names["became"] == {".x": 1, "exception": 1}
    assert [refused["line"] for refused in names["refused"]] == [3, 4]
