"""`dnsfw arm`: what the command line means and says; what it does is in server/ and netns/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dnsfw.server import arm as module
from dnsfw.server.arm import Armed
from dnsfw.server.options import Options
from tests.support.commands import dnsfw


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was asked; set `done` to what comes of it."""
    seen: dict[str, Any] = {"done": Armed(Path("/p.yaml"), stood=False)}

    def arm(options: Options, open_kernel: object, stands: bool) -> Armed:
        seen["options"] = options
        done: Armed = seen["done"]
        return done

    monkeypatch.setattr(module, "arm", arm)
    monkeypatch.setenv("DNSFW_RUN_DIR", "/nowhere")
    return seen


def test_every_option_arrives(armed: dict[str, Any]) -> None:
    done = dnsfw(
        "arm", "--policy", "p.yaml", "--cgroup", "/x", "--interface", "eth0", "--interface", "b",
        "--backend", "bcc", "--degraded",
    )  # fmt: skip

    assert done.code == 0
    assert armed["options"] == Options(
        policy="p.yaml", cgroup="/x", interfaces=("eth0", "b"), backend="bcc", degraded=True,
        run_dir=Path("/nowhere"), answers=False,
    )  # fmt: skip


def test_it_says_that_names_are_closed_until_up(armed: dict[str, Any]) -> None:
    assert dnsfw("arm").out == (
        "armed with /p.yaml: names are closed until `dnsfw up` takes over\n"
    )


def test_a_wall_that_stood_is_said_and_fine(armed: dict[str, Any]) -> None:
    armed["done"] = Armed(Path("/p.yaml"), stood=True)

    done = dnsfw("arm")

    assert (done.code, done.out) == (0, "armed already: a wall stands, and was left as it is\n")


def test_everything_that_is_not_as_wanted_is_told(armed: dict[str, Any]) -> None:
    armed["done"] = Armed(
        Path("/p.yaml"), False, ("ended x",), ("uid 33",), ("tc on eth0: no",), ("p.yaml:1: w",)
    )

    done = dnsfw("arm")

    assert done.err.splitlines() == [
        "warning: p.yaml:1: w", "degraded: tc on eth0: no", "not there yet: uid 33",
    ]  # fmt: skip
    assert done.out.startswith("ended x\n")
