"""The end of quickstart, on a host that is a namespace of ours."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tests.support.daemon import dnsfw_argv
from tests.support.running_command import Runs
from tests.support.world import World

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

DEMO = Path(__file__).resolve().parents[2] / "contrib" / "lib" / "demo_host.py"


@pytest.fixture
def runs(world: World) -> Runs:
    return Runs(world)


def shown(runs: Runs, allowed: str, refused: str) -> tuple[int, str]:
    dnsfw = runs.file("dnsfw", "#!/bin/sh\nexec " + shlex.join(dnsfw_argv()) + ' "$@"\n')
    dnsfw.chmod(0o755)
    done = runs.guest.run(
        [sys.executable, str(DEMO), str(dnsfw), allowed, refused], env=runs.environment
    )
    assert not done.stderr
    return done.returncode, done.stdout


def test_it_shows_one_name_reached_one_refused_and_nobody_else_guarded(runs: Runs) -> None:
    code, said = shown(runs, "www.example.com", "example.net")

    assert code == 0, said
    assert "curl http://www.example.com/\n   HTTP 200" in said
    assert "Could not resolve host: example.net" in said
    assert "--allow example.net" in said
    assert "passes: only that command was guarded" in said
    assert max(map(len, said.splitlines())) <= 80
    assert runs.left_nothing()


def test_without_a_working_resolver_it_is_left_out_with_the_reason(runs: Runs) -> None:
    code, said = shown(runs, "nowhere.invalid", "example.net")

    assert code == 0
    assert "left out: this host cannot look nowhere.invalid up" in said
