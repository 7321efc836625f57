"""The fixture of the end-to-end tests: a world of their own for each."""

from __future__ import annotations

import pytest

from tests.support.netlab import Lab
from tests.support.world import World, open_world


@pytest.fixture
def world(lab: Lab) -> World:
    """An internet and a guarded host; everything in it goes when the lab closes."""
    return open_world(lab)
