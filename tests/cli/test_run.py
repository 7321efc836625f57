"""`dnsfw run`: what it says before anything runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.commands import dnsfw


def test_help_shows_the_one_liners_and_fits_a_terminal() -> None:
    done = dnsfw("run", "--help")

    for words in ("only these names", "only these prefixes", "no outbound network at all"):
        assert words in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "name a command"),
        (["--allow", "https://example.com/", "--", "true"], "--allow: 'https://example.com/'"),
        (["--allow", "*", "--", "true"], "open to names that anybody can register"),
        (["--report", "seen.txt", "--", "true"], "name it .json or .yaml"),
        (["--report", "/nonexistent/seen.json", "--", "true"], "there is no directory"),
        (["--user", "nobody-of-this-name", "--", "true"], "no user 'nobody-of-this-name'"),
        (["--allow", "example.com", "--upstream", "quad9", "--", "true"], "quad9"),
        (["--policy", "/nonexistent.yaml", "--", "true"], "/nonexistent.yaml"),
    ],
)
def test_a_mistake_ends_before_anything_runs(argv: list[str], said: str) -> None:
    done = dnsfw("run", *argv)

    assert done.code == 2
    assert said in done.err


def test_options_after_the_command_are_the_commands() -> None:
    done = dnsfw("run", "--report", "seen.txt", "curl", "--allow", "x")

    assert "name it .json or .yaml" in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_without_rights_it_says_what_to_do(tmp_path: Path) -> None:
    done = dnsfw("run", "--default", "deny", "--", "true")

    assert done.code == 3
    assert "missing CAP_BPF" in done.err
