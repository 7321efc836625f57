"""Whose query it is."""

from __future__ import annotations

import pytest

from dnsfw.model import HOST, NO_ROLE, RoleId
from dnsfw.server.roles import EVERYBODY_IS_HOST, MarkedAskers


def nobody(cookie: int) -> RoleId:
    return NO_ROLE


@pytest.mark.parametrize("mark", [1, 16, 255])
def test_a_mark_of_ours_is_the_role(mark: int) -> None:
    assert MarkedAskers(nobody).by_mark(mark) == RoleId(mark)


@pytest.mark.parametrize("mark", [0, 2, 15, 256, 0x20000, 0xFFFFFFFF])
def test_no_mark_and_somebody_elses_mark_are_nobody_never_host(mark: int) -> None:
    """Kubernetes, WireGuard and others have marks of their own; 2 is our self-test's."""
    assert MarkedAskers(nobody).by_mark(mark) == NO_ROLE


def test_a_connection_is_whose_the_kernel_noted_by_its_cookie() -> None:
    noted = {77: RoleId(16), 78: RoleId(0x20000)}
    askers = MarkedAskers(lambda cookie: noted.get(cookie, NO_ROLE))

    assert askers.by_connection(77) == RoleId(16)
    assert askers.by_connection(78) == NO_ROLE
    assert askers.by_connection(79) == NO_ROLE


def test_without_hooks_everybody_is_host() -> None:
    assert EVERYBODY_IS_HOST.by_mark(0) == HOST
    assert EVERYBODY_IS_HOST.by_connection(0) == HOST


def test_host_is_not_taken_from_a_mark_nobody_set() -> None:
    assert MarkedAskers(nobody).by_mark(HOST) == HOST
    assert MarkedAskers(nobody).by_mark(0) != HOST
