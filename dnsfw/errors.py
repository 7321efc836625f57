"""Every error dnsfw raises on purpose; the class says whose fault it is.

`WireError` is a peer's, `ConfigError` and `PolicyError` the operator's,
`DatapathError` the host's. The CLI turns each into one line and an exit code.
"""

from __future__ import annotations


class DnsfwError(Exception):
    """Root of all errors raised on purpose."""


class WireError(DnsfwError):
    """A peer sent bytes that are not a DNS message; says which rule they broke."""


class ConfigError(DnsfwError):
    """The operator asked for something that cannot be (exit 2); says the remedy."""


class PolicyError(ConfigError):
    """A policy file is wrong; `str()` holds every problem, one `file:line:col` line each."""


class DatapathError(DnsfwError):
    """The host lacks something, or enforcement is off (exit 3); names the feature."""


class GrantsFull(DatapathError):
    """The grants table has no room; nothing of the write may be relied on."""

    def __init__(self, capacity: int) -> None:
        super().__init__(f"grant table is full ({capacity} entries)")
        self.capacity = capacity
