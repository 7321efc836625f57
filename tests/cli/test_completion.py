"""contrib/completion: what the Tab key offers, in the shells that are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import dnsfw as package
from dnsfw.cli.main import COMMANDS

SCRIPTS = Path(__file__).resolve().parents[2] / "contrib" / "completion"
NAMES = {name for group in COMMANDS.values() for name in group}
CLICK = re.compile(r"with click (\d+\.\d+)")
BASH = """
source {scripts}/dnsfw.bash
COMP_WORDS=({words}); COMP_CWORD=$(({count} - 1))
_dnsfw_completion dnsfw
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
FISH = "source {scripts}/dnsfw.fish; complete -C '{line}'"
ZSH = """
words=({words}); CURRENT={count}
compdef() {{ :; }}
compadd() {{ print -l -- $completions }}
_describe() {{ print -l -- $completions_with_descriptions }}
_path_files() {{ print -- "<files>" }}
source {scripts}/_dnsfw
_dnsfw_completion
"""

pytestmark = pytest.mark.skipif(not SCRIPTS.is_dir(), reason="no checkout")


@pytest.fixture
def dnsfw_on_the_path(tmp_path: Path) -> dict[str, str]:
    """An environment in which the shells find this very dnsfw."""
    home = Path(package.__file__).parents[1]
    command = tmp_path / "dnsfw"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={home} exec {sys.executable} -P -m dnsfw "$@"\n')
    command.chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}


def offered(shell: str, line: str, environment: dict[str, str]) -> set[str]:
    """What the shell would show after this line and the Tab key."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = line.split(" ")
    script = {"bash": BASH, "fish": FISH, "zsh": ZSH}[shell].format(
        scripts=SCRIPTS, words=" ".join(f'"{word}"' for word in words), count=len(words), line=line
    )
    flags = {"zsh": ["-f"], "bash": ["--norc"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *flags, "-c", script], env=environment, capture_output=True, text=True, timeout=60
    )
    assert not done.stderr, done.stderr
    return {re.split(r"[\t:]", line)[0] for line in done.stdout.splitlines() if line}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_beginning_of_a_command_is_completed(
    shell: str, dnsfw_on_the_path: dict[str, str]
) -> None:
    assert offered(shell, "dnsfw st", dnsfw_on_the_path) == {"status"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_offered(shell: str, dnsfw_on_the_path: dict[str, str]) -> None:
    assert offered(shell, "dnsfw ", dnsfw_on_the_path) == NAMES


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_options_of_a_command_are_offered(shell: str, dnsfw_on_the_path: dict[str, str]) -> None:
    assert offered(shell, "dnsfw up --de", dnsfw_on_the_path) == {"--degraded"}
    assert offered(shell, "dnsfw up --backend l", dnsfw_on_the_path) == {"libbpf"}


def test_import_offers_its_formats(dnsfw_on_the_path: dict[str, str]) -> None:
    assert offered("bash", "dnsfw import bl", dnsfw_on_the_path) == {"blocklist"}


def test_the_scripts_are_what_click_generates(tmp_path: Path) -> None:
    for name in ("dnsfw.bash", "_dnsfw"):
        written = (SCRIPTS / name).read_text()
        made_with = CLICK.search(written)
        assert made_with is not None
        if not version("click").startswith(f"{made_with[1]}."):
            pytest.skip(f"{name} was written with click {made_with[1]}")
        subprocess.run([SCRIPTS / "generate", sys.executable, tmp_path], check=True)

        assert CLICK.sub("", (tmp_path / name).read_text()) == CLICK.sub("", written)
