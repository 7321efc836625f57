"""A machine to throw away: its root cgroup and all its devices are guarded, once a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.machine import Machine
from tests.support.netlab import Lab


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """Plugged in, and not guarded yet."""
    with Lab("tests/machine") as lab:
        yield Machine(lab)
