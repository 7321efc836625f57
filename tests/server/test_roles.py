"""Whose query it is."""

from __future__ import annotations

import pytest

from dnsfw.model import HOST
from dnsfw.server.roles import role_of_mark


@pytest.mark.parametrize("mark", [0, 1, 2, 16, 0xFFFFFFFF])
def test_until_roles_come_every_mark_is_host(mark: int) -> None:
    assert role_of_mark(mark) == HOST
