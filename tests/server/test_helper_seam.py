"""Where there is no helper, whoever wants it is told why and what for."""

from __future__ import annotations

import pytest

from dnsfw.errors import DatapathError
from dnsfw.model import RoleId
from dnsfw.server.helper_seam import Helper, NoHelper


def test_no_helper_says_what_is_missing_and_does_what_needs_none() -> None:
    helper: Helper = NoHelper("no helper, for a reason")

    helper.tables(3, 4)
    helper.wake()
    helper.dissolve()
    helper.close()
    assert (helper.alive, helper.fileno(), list(helper.told())) == (False, None, [])
    assert helper.watch_executables([]) == () and helper.end_sockets([]) == 0
    for ask in (
        lambda: helper.enroll(1, RoleId(20), "web"),
        lambda: helper.unenroll(1),
        lambda: helper.relabel([1], RoleId(20)),
        lambda: helper.sockets_in(1, []),
        lambda: helper.inhabited([1]),
    ):
        with pytest.raises(DatapathError, match="for a reason"):
            ask()
