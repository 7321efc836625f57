"""`dnsfw export`: the text on stdout, what it does not say on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnsfw.policy.exporters import FORMATS
from tests.support.commands import dnsfw

POLICY = """version: 1
default: deny
rules:
  - allow: [x.example, "*.y.example:443"]
roles:
  web:
    default: allow
    rules: [{deny: ads.example}]
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "p.yaml"
    path.write_text(POLICY)
    return str(path)


def test_what_is_lost_is_told_and_nothing_is_written(policy: str, tmp_path: Path) -> None:
    out = tmp_path / "out"

    done = dnsfw("export", "plain", "--policy", policy, "-o", str(out))

    assert (done.code, done.out, out.exists()) == (1, "", False)
    assert done.err == (
        f"{policy}:4: LOST allow *.y.example:443 -> its ports: a list has none\n"
        "1 rule is lost; nothing written: --partial goes on without them\n"
    )


def test_partial_goes_on_and_still_says_it(policy: str, tmp_path: Path) -> None:
    done = dnsfw("export", "plain", "-p", policy, "--partial", "-o", str(tmp_path / "out"))

    assert done.code == 0 and "LOST" in done.err
    assert (tmp_path / "out").read_text().endswith("\nx.example\n")


def test_a_role_is_named(policy: str) -> None:
    done = dnsfw("export", "hosts", "-p", policy, "--role", "web")

    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("0.0.0.0 ads.example\n")


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_every_format_has_its_line_in_the_help_and_json(form: str, policy: str) -> None:
    done = dnsfw("export", form, "-p", policy, "--role", "web", "--partial", "--json")

    assert f"\n    {form} " in dnsfw("export", "--help").out
    assert json.loads(done.out)["format"] == form and json.loads(done.out)["text"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [(["pdf"], "there are plain"), (["plain", "--role", "wbe"], "did you mean 'web'"),
     (["plain", "-p", "/nonexistent"], "/nonexistent")],
)  # fmt: skip
def test_a_wrong_word_is_exit_2(argv: list[str], says: str, policy: str) -> None:
    done = dnsfw("export", *argv, *([] if "-p" in argv else ["-p", policy]))

    assert (done.code, done.out) == (2, "") and says in done.err
