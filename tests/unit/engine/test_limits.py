"""Every limit is one, and the times fit into each other."""

from __future__ import annotations

from dataclasses import fields

from dnsfw.engine import limits
from dnsfw.engine.limits import Limits
from dnsfw.model import SECOND, abi


def test_every_table_has_a_limit() -> None:
    sizes = Limits()

    assert all(getattr(sizes, field.name) > 0 for field in fields(sizes))


def test_the_ledger_is_no_larger_than_the_kernels_table() -> None:
    assert Limits().grants <= abi.Limit.MAX_GRANTS
    assert Limits().slots == abi.Limit.SLOTS


def test_row_107_a_client_hears_of_a_failure_before_it_gives_up_itself() -> None:
    """Below 5 s."""
    assert limits.CLIENT_PATIENCE < 5 * SECOND
    assert limits.TRY_PATIENCE + limits.TCP_PATIENCE < limits.CLIENT_PATIENCE


def test_failures_are_remembered_as_rfc_9520_says() -> None:
    assert limits.FAILURE_MIN >= 1 * SECOND
    assert limits.QUESTION_FAILURE_MAX <= limits.FAILURE_MAX <= 300 * SECOND


def test_row_71_no_chain_is_longer_than_a_real_one() -> None:
    """A cap of 8 to 11."""
    assert 8 <= limits.CHAIN_MAX <= 11
