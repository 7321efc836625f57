"""Whose fault an error is can be told from its class alone."""

from __future__ import annotations

import pytest

from dnsfw.errors import ConfigError, DatapathError, DnsfwError, GrantsFull, PolicyError, WireError


@pytest.mark.parametrize("error", [WireError, ConfigError, PolicyError, DatapathError, GrantsFull])
def test_every_error_has_the_one_root(error: type[Exception]) -> None:
    assert issubclass(error, DnsfwError)


def test_a_policy_error_is_the_operators_and_a_full_table_the_hosts() -> None:
    assert issubclass(PolicyError, ConfigError)
    assert issubclass(GrantsFull, DatapathError)
    assert not issubclass(WireError, ConfigError | DatapathError)


def test_a_full_table_says_how_full() -> None:
    error = GrantsFull(4096)

    assert error.capacity == 4096
    assert "4096" in str(error)
