"""`play`: a script for the engine under the policy of the test, checked at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from dnsfw.engine.limits import Limits
from tests.support.kernel_play import KernelPlay
from tests.support.play import Play, begin

Begin = Callable[..., Play]


@pytest.fixture(params=["off", "on"])
def stage(request: pytest.FixtureRequest) -> Iterator[Begin]:
    """Begins plays; at the end of the test none may have effects that nobody expected. Each is
    played without the kernel's answers and with them.
    """
    plays: list[Play] = []
    on = request.param == "on"
    kind = KernelPlay if on else Play

    def start(policy: str, *, upstreams: int = 1, limits: Limits | None = None) -> Play:
        plays.append(
            begin(policy, upstreams=upstreams, limits=limits, publishes=on, kind=kind)
        )
        return plays[-1]

    yield start
    for play in plays:
        left = list(play.unexpected.values())
        assert not left, f"nobody expected {left}"


@pytest.fixture
def play(stage: Begin) -> Play:
    """A play under the policy most scripts need: one wildcard, everything else refused."""
    return stage(ALLOW_EXAMPLE)


ALLOW_EXAMPLE = """
version: 1
default: deny
rules:
  - allow: "*.example.com:443"
dns: {upstreams: [192.0.2.53]}
"""

# An empty list of rules is an error, so one that matters to nobody.
ALLOW_ALL = """
version: 1
default: allow
rules:
  - allow: nothing.invalid
dns: {upstreams: [192.0.2.53]}
"""
